"""A look at a run never ends it: what fails while looking is one line of the log, and the run goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

log = logging.getLogger(__name__)


@contextmanager
def harmless(
    what: str, then: Callable[[], object] = lambda: None, refusals: type[Exception] | tuple[()] = ()
) -> Iterator[None]:
    """Say that something "is not predicted" and why, do what is to be done `then`, and go on.

    The laboratory stands on private names of torch and TRL, which may be others tomorrow. Of a plan,
    `refusals` are answers and no failures: they are raised.
    """
    try:
        yield
    except refusals:
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, the run is worth more than a look at it)
        said = (str(error).splitlines() or [""])[0]
        log.info("%s (%s: %s); the run goes on", what, type(error).__name__, said)
        with suppress(Exception):  # tidying up after what failed may fail as well
            then()
