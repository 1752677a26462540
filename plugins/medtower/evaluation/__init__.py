"""What one version is worth on one holdout: metrics with intervals, calibration, KPI status and the gates before a proposal."""
