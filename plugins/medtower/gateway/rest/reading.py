"""Questions to Postgres from a process that must not wait for it: in threads of their own, few at a time, and given up in time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from medtower.adapters.postgres.database import Database
from medtower.errors import DeadlineExceeded, Unavailable

P = ParamSpec("P")
T = TypeVar("T")
AT_ONCE, IN_LINE = 4, 12
CONNECT_SECONDS, STATEMENT_SECONDS = 2, 5.0
PATIENCE = 12.0  # for a connection and a few statements; what hangs beyond that keeps its thread, and nobody waits for it
WHY = "it keeps what was answered; predictions are answered and recorded meanwhile"


class Reading:
    """Reads the record in the database at `dsn` (empty: there is none). Raises Unavailable, always within `patience` seconds."""

    def __init__(self, dsn: str, *, patience: float = PATIENCE) -> None:
        self._database = (
            Database(dsn, seconds=STATEMENT_SECONDS, connect_seconds=CONNECT_SECONDS) if dsn else None
        )
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="reading")
        self._patience, self._asked = patience, 0

    async def ask(
        self, question: Callable[Concatenate[Database, P], T], /, *values: P.args, **named: P.kwargs
    ) -> T:
        """What `question(database, …)` returns."""
        if self._database is None:
            raise Unavailable("postgres", "this gateway was started without MEDTOWER_DSN")
        if self._asked >= AT_ONCE + IN_LINE:
            raise Unavailable("postgres", "too many wait for it already; ask again")
        asked = self._threads.submit(question, self._database, *values, **named)
        self._asked += 1
        answer = asyncio.wrap_future(asked)
        answer.add_done_callback(self._answered)
        try:
            return await asyncio.wait_for(asyncio.shield(answer), self._patience)
        except TimeoutError:
            asked.cancel()
            raise Unavailable("postgres", f"it did not answer within {self._patience:g} s; {WHY}") from None
        except DeadlineExceeded:
            raise Unavailable(
                "postgres", f"it did not answer within {STATEMENT_SECONDS:g} s; ask for fewer hours"
            ) from None
        except Unavailable as down:
            raise Unavailable("postgres", f"{down.why}; {WHY}") from None

    def _answered(self, done: asyncio.Future[T]) -> None:
        self._asked -= 1
        if not done.cancelled():
            done.exception()  # looked at: whoever asked may have gone
