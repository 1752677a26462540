"""The reconciler: what serves becomes what git says."""

from medtower.workflows.reconcile.reconciler import Reconciler

__all__ = ["Reconciler"]
