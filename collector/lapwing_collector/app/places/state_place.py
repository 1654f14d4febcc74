"""Where the state of a project is kept, by its settings."""

from lapwing_collector.app.places.directory import expect_usable
from lapwing_collector.config import Settings
from lapwing_collector.state import Place, PostgresServer, SqliteFile


def state_of(settings: Settings) -> Place:
    """A PostgreSQL database where the settings name one, else a file in the data directory.

    Raises:
        ConfigError: They name none that there could be.
        DataDirectoryError: This user may not look into the data directory.
    """
    url, password = settings.state.url, settings.state.password
    if url is None:
        return SqliteFile(expect_usable(settings.data).state)
    return PostgresServer(url.get_secret_value(), None if password is None else password.get_secret_value())
