"""Who knows of alerts from a message that another target did not accept."""

from collections.abc import Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, Select, insert, select, update

from lapwing_collector.state.schema import group_alerts, group_targets, groups, outbox


def still_known(connection: Connection, key: str, fingerprints: Collection[str]) -> set[str]:
    """Which of some alerts are in the group of a message still: whoever knows of these hears of their end."""
    query = select(group_alerts.c.fingerprint).where(
        group_alerts.c.group_id == _group_of(key).scalar_subquery()
    )
    return set(fingerprints) & set(connection.execute(query).scalars())


def hear(
    connection: Connection, key: str, targets: Mapping[str, str], fingerprints: Collection[str], now: datetime
) -> None:
    """Note in the group of a message that other targets know now that alerts fire.

    Args:
        connection: In a transaction.
        key: That of the message.
        targets: What each was told: the keys of messages, by target.
        fingerprints: The alerts.
        now: Wall-clock time.
    """
    group_id = connection.execute(_group_of(key)).scalar_one_or_none()
    if group_id is None or not fingerprints:
        return
    for target, message in targets.items():
        mine = (group_targets.c.group_id == group_id) & (group_targets.c.target == target)
        firing = connection.execute(select(group_targets.c.firing).where(mine)).scalar_one_or_none()
        if firing is None:
            values = {"firing": sorted(fingerprints), "told_at": now, "message": message}
            connection.execute(insert(group_targets).values(group_id=group_id, target=target, **values))
        else:
            both = sorted({*firing, *fingerprints})
            connection.execute(update(group_targets).where(mine).values(firing=both))
    connection.execute(
        update(groups).where(groups.c.id == group_id).values(version=groups.c.version + 1, look_at=now)
    )


def _group_of(key: str) -> Select[tuple[int]]:
    return select(groups.c.id).join(outbox, groups.c.key == outbox.c.group).where(outbox.c.key == key)
