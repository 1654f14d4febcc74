"""The way in, up to where rows wait for the lake: receiver, durable log, what was accepted."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from lapwing_collector.app.ingest.accounts import Accounts
from lapwing_collector.app.ingest.ingestion import Ingestion
from lapwing_collector.app.ingest.pending import Pending
from lapwing_collector.app.ingest.receiving import Receiving
from lapwing_collector.app.ingest.redaction import redaction
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.owner_socket import OwnerSocket
from lapwing_collector.app.places.owning import OwnedData
from lapwing_collector.app.places.project import Project, described_texts
from lapwing_collector.clock import Clock
from lapwing_collector.lake import Lake
from lapwing_collector.redact import Redaction

_BUSY_FROM: Final = 0.25
"""How full the queue of rows may be while other work goes on."""


def ingestion_of(  # noqa: PLR0917  # what is joined
    project: Project,
    owned: OwnedData,
    pending: Pending,
    accounts: Accounts,
    clock: Clock,
    prepare: Redaction | None,
) -> Ingestion:
    """What makes the records of a project durable in its own data directory; the caller closes it."""
    return Ingestion.open(
        owned.directory,
        project.settings,
        owned.lake.progress.log,
        pending,
        accounts,
        clock,
        prepare,
        described_texts(project),
    )


@dataclass(frozen=True, slots=True)
class Inflow:
    """What receives, for one data directory that it owns.

    Attributes:
        receiving: The receiver.
        owned: The data directory.
        commands: Where commands come to its owner; they wait until it is said what they may ask for.
        pending: Rows that are durable and wait.
        ingestion: What makes them durable.
        prepare: What takes things out of requests; None where nothing does.
    """

    receiving: Receiving
    owned: OwnedData
    commands: OwnerSocket
    pending: Pending
    ingestion: Ingestion
    prepare: Redaction | None

    @classmethod
    async def open(
        cls,
        parts: AsyncExitStack,
        project: Project,
        clock: Clock,
        *,
        listeners: Mapping[str, socket.socket],
        receiving: Receiving | None = None,
        owned: OwnedData | None = None,
    ) -> Self:
        """Own the data directory of a project, and let requests in; what is joined is closed with `parts`.

        They are acknowledged from then on. Nobody writes their rows to the lake yet.

        Args:
            parts: Where it is noted what is to be closed.
            project: Whose.
            clock: Tells when requests come.
            listeners: Sockets that listen already, for a receiver that is started here.
            receiving: The receiver, if it runs already.
            owned: The data directory, if it is owned already.

        Raises:
            LapwingError: The data directory or a port is taken, or cannot be used.
        """
        if receiving is None:
            receiving = Receiving(project.settings)
            await receiving.start(listeners)
        parts.push_async_callback(receiving.stop)
        owned = owned or OwnedData.take(project)
        parts.callback(owned.close)
        commands = OwnerSocket.open(owned.directory.root)
        parts.callback(commands.close)
        pending = Pending(project.settings.write.max_pending_bytes)
        prepare = redaction(project.policy)
        ingestion = ingestion_of(project, owned, pending, receiving.accounts, clock, prepare)
        parts.callback(ingestion.close)
        await asyncio.to_thread(ingestion.recovery.learn)
        parts.push_async_callback(receiving.stop)  # before what it feeds
        receiving.open(
            ingestion.ingest,
            healthy=lambda: ingestion.problem is None,
            replaying=lambda: ingestion.recovery.replaying,
        )
        await asyncio.to_thread(owned.keeper.wait)  # nobody can ask anything before
        return cls(receiving, owned, commands, pending, ingestion, prepare)

    @property
    def lake(self) -> Lake:
        """Where rows go."""
        return self.owned.lake

    @property
    def directory(self) -> DataDirectory:
        """Where everything is."""
        return self.owned.directory

    @property
    def accounts(self) -> Accounts:
        """The books."""
        return self.receiving.accounts

    def oldest_waiting(self) -> datetime | None:
        """When the oldest request came whose rows may not be in the lake; None if all are."""
        # First what is in hand, then what waits: in between, rows go from one to the other.
        moments = self.ingestion.ingest.oldest_in_hand, self.pending.oldest_received_at
        return min((moment for moment in moments if moment is not None), default=None)

    def busy(self) -> bool:
        """Whether so many rows wait that other work had better wait, too."""
        return self.pending.filled > _BUSY_FROM
