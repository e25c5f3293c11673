"""A visitor's long work: begun when what that visitor began before has ended, followed until its end, stopped."""

import asyncio
from collections.abc import AsyncIterator, Callable

from facemorph.web.sessions import Session
from facemorph.web.turns import Turns, Work

FOLLOW_SECONDS = 0.25
MOST_FOLLOWERS = 6  # open pages of one visitor, say


async def follow(
    turns: Turns, session: Session, what: str = "", make: Callable[[], Work | None] = lambda: None
) -> AsyncIterator[None]:
    """Yields again and again while the visitor's work lasts; then starts what `make` makes, and yields until that ends.

    Nothing begins where the visitor presses stop meanwhile, where the same is at work already, or where `make` finds
    that there is nothing to do.
    """
    me, stops = object(), session.stops
    session.followers.append(me)
    del session.followers[:-MOST_FOLLOWERS]
    same = session.at_work(what)
    while session.at_work():
        yield
        await asyncio.sleep(FOLLOW_SECONDS)
        same = same or session.at_work(what)
        if me not in session.followers:
            return
    if same or session.stops != stops:
        return
    work = make()
    if work is not None:
        job = session.job = turns.join(id(session), work, what)
        while not job.finished.is_set() and me in session.followers:
            yield
            await asyncio.sleep(FOLLOW_SECONDS)


def stop(session: Session | None) -> None:
    """Stop what is at work, and let nothing begin that waits for it."""
    if session is not None:
        session.stops += 1
        if session.job is not None:
            session.job.cancel()
