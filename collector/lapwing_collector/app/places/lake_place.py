"""Where the lake of a project is, by its settings."""

from pathlib import Path

from lapwing_collector.app.places.directory import DataDirectory, expect_usable
from lapwing_collector.config import Settings
from lapwing_collector.engine.place import (
    Bucket,
    CatalogFile,
    CatalogServer,
    Folder,
    Place,
    bucket_at,
)
from lapwing_collector.errors import ConfigError, DataDirectoryError


def lake_of(settings: Settings) -> Place:
    """What the settings name; the folder `lake` of the data directory has what they do not.

    Raises:
        ConfigError: They name something that there could not be.
    """
    own = Place.within(DataDirectory(settings.data).lake)
    lake = settings.lake
    catalog: CatalogFile | CatalogServer = own.catalog
    if lake.catalog is not None:
        password = None if lake.password is None else lake.password.get_secret_value()
        catalog = CatalogServer.of(lake.catalog.get_secret_value(), password)
    return Place(catalog, own.files if lake.data is None else _files(settings))


def expect_lake(settings: Settings) -> Place:
    """As `lake_of`, of a lake that a collector has made.

    Raises:
        DataDirectoryError: There is surely none, or this user may not look into it.
    """
    expect_usable(settings.data)
    place = lake_of(settings)
    if isinstance(place.catalog, CatalogFile) and not place.catalog.path.exists():
        raise DataDirectoryError(
            f"{settings.data}: there is no lake here yet; `lapwing up` makes one, "
            "or name the data directory of a collector that runs elsewhere"
        )
    return place


def expect_folder(place: Place, what: str) -> None:
    """See that a lake can be copied as one folder.

    Raises:
        ConfigError: It is elsewhere; `what` is what was wanted.
    """
    if place.folder is None:
        raise ConfigError(
            f"{what}: the lake is {place}: have server and store copy it by their own means, the database "
            "first; docs/scaling.md says how"
        )


def _files(settings: Settings) -> Folder | Bucket:
    named, store = settings.lake.data, settings.lake.s3
    if isinstance(named, Path):
        return Folder(named.resolve())
    return bucket_at(
        str(named),
        endpoint=store.endpoint,
        region=store.region,
        access_key=store.access_key and store.access_key.get_secret_value(),
        secret_key=store.secret_key and store.secret_key.get_secret_value(),
        session_token=store.session_token and store.session_token.get_secret_value(),
        path_style=store.url_style == "path",
        tls=store.use_ssl,
    )
