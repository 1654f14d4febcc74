"""Settings of the collector: `lapwing.yaml`, environment variables and flags, checked as one."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from lapwing_collector.config.documents import expectation, parse_duration, read_document
from lapwing_collector.errors import ConfigError
from lapwing_collector.model.addresses import bucket_address, catalog_address, state_address
from lapwing_collector.model.given import Given

ENVIRONMENT_PREFIX: Final = "LAPWING_"
SETTINGS_FILE: Final = "lapwing.yaml"


def _duration(value: object) -> object:
    """Numbers are none, though pydantic would take them for seconds: who writes `keep: 90` means days."""
    return value if isinstance(value, timedelta) else parse_duration(str(value))


def _some_time(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("a duration longer than 0s: nothing would be kept; without the key, all is")
    return value


def _address(value: object) -> object:
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65_535:
            raise ValueError(f"an address such as 127.0.0.1:4318, not {value!r}")
    return value


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"an address such as https://lapwing.example.org, not {value!r}")
    return value.rstrip("/")


def _patterns(value: object) -> object:
    """Several patterns come as a list in the file, and between commas in a variable."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _networks(value: object) -> object:
    """Networks come as a list in the file, and between commas in a variable; an address is one by itself."""
    named = _patterns(value)
    if not isinstance(named, list | tuple):
        raise ValueError("a list of networks such as 10.0.0.0/8")  # noqa: TRY004  # pydantic reports ValueErrors
    return tuple(_network(each) for each in named)


def _network(value: object) -> object:
    try:
        return ip_network(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"a network such as 10.0.0.0/8, or an address: {error}") from error


def _model_limits(value: object) -> object:
    """Limits of models come as a mapping in the file, and as `churn: 90d, fraud: 30d` in a variable."""
    return yaml.safe_load("{" + value + "}") if isinstance(value, str) else value


def _limit(value: object) -> object:
    """An age alone stands for itself."""
    return {"keep": value} if isinstance(value, str | int | float) else value


def _checked(read: Callable[[str], object]) -> BeforeValidator:
    """An address that can be read; no message says it again, as a password may be in it."""

    def check(value: object) -> object:
        read(value.get_secret_value() if isinstance(value, SecretStr) else str(value))
        return value

    return BeforeValidator(check)


def _data_place(value: object) -> object:
    """What has a scheme is an address, everything else a path."""
    if not isinstance(value, str):
        return value
    if "://" not in value:
        return Path(value)
    bucket_address(value)
    return value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Age = Annotated[timedelta, BeforeValidator(_duration), AfterValidator(_some_time)]
Patterns = Annotated[tuple[str, ...], BeforeValidator(_patterns)]
Address = Annotated[str, BeforeValidator(_address)]
DataPlace = Annotated[Path | str, BeforeValidator(_data_place)]
Url = Annotated[str, AfterValidator(_url)]
StateServer = Annotated[SecretStr, _checked(state_address)]
CatalogServer = Annotated[SecretStr, _checked(catalog_address)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class HttpSettings(_Section):
    """The OTLP/HTTP receiver."""

    listen: Address = Field(
        "127.0.0.1:4318", description="host:port that clients send OTLP to; port 0 picks a free one"
    )
    max_request_bytes: int = Field(
        64 << 20, gt=0, description="largest request, before and after decompression; holds for gRPC, too"
    )
    max_in_flight_bytes: int = Field(
        40 << 20,
        gt=0,
        description="bodies of all requests in hand, of gRPC once read; beyond, clients wait a little; "
        "one counts as three quarters of it at most",
    )
    max_connections: int = Field(
        4096,
        gt=0,
        description="open connections, of HTTP and of gRPC each; over HTTP, the idlest makes room",
    )
    idle_timeout: Duration = Field(
        timedelta(seconds=10),
        ge=timedelta(milliseconds=1),
        description="how long a client may send nothing of a request, or read nothing of its answer",
    )
    cors_origins: Patterns = Field(
        (),
        description="pages that may send from a browser, such as `https://app.example.org`; by default none",
    )


class GrpcSettings(_Section):
    """The OTLP/gRPC receiver."""

    listen: Address = Field(
        "127.0.0.1:4317", description="host:port that clients send OTLP over gRPC to; port 0 picks a free one"
    )


class AuthSettings(_Section):
    """Who may send and ask."""

    tokens: Path | None = Field(None, description="file of bearer tokens; without one, nobody needs any")


class TlsSettings(_Section):
    """Encryption of what is received, and of what is asked."""

    certificate: Path | None = Field(None, description="chain of certificates to show, in PEM")
    key: Path | None = Field(None, description="its private key, in PEM")
    client_authority: Path | None = Field(
        None,
        description="authorities, in PEM, that must vouch for clients; without, none needs a certificate",
    )


class WebSettings(_Section):
    """SQL over HTTP, metrics and health."""

    listen: Address = Field(
        "127.0.0.1:4319",
        description="host:port of dashboard, SQL over HTTP, metrics, commands; port 0 picks a free one",
    )
    dashboard: Url | None = Field(
        None,
        description="where people reach it, as `https://lapwing.example.org`: messages then link to rows",
    )


class QuerySettings(_Section):
    """What people's queries may use; rules have processes of their own."""

    timeout: Duration = Field(
        timedelta(seconds=30), ge=timedelta(milliseconds=1), description="how long a query may run"
    )
    max_rows: int = Field(1_000_000, gt=0, description="rows of an answer; beyond, it is cut and says so")
    max_bytes: int = Field(
        128 << 20, gt=0, description="size of an answer in memory; beyond, it is cut and says so"
    )
    memory_bytes: int = Field(
        1 << 30, ge=128 << 20, description="memory that one query may use; it ends when it needs more"
    )
    workers: int = Field(2, gt=0, description="queries over HTTP that run at the same time")
    queue: int = Field(16, ge=0, description="queries over HTTP that may wait for their turn")


class S3Settings(_Section):
    """How to get into the bucket of the lake's files."""

    endpoint: str | None = Field(
        None, description="host:port of a store that is not AWS's, such as `minio.example.org:9000`"
    )
    region: str = Field("us-east-1", description="where the bucket is")
    access_key: SecretStr | None = Field(None, description="who asks, as `${env:NAME}`")
    secret_key: SecretStr | None = Field(None, description="that it is they, as `${env:NAME}`")
    session_token: SecretStr | None = Field(None, description="for keys that hold for a while only")
    url_style: Literal["vhost", "path"] = Field(
        "vhost", description="whether the bucket stands in the host's name, or, as `path`, behind it"
    )
    use_ssl: bool = Field(True, description="whether connections are encrypted")


class LakeSettings(_Section):
    """Where the lake is."""

    catalog: CatalogServer | None = Field(
        None,
        description="a PostgreSQL database, as `postgresql://lapwing@db.example.org/lake`, which several "
        "collectors may write and which needs a `state.url`; by default a file in the data directory",
    )
    password: SecretStr | None = Field(
        None,
        description="that of its user, as `${env:NAME}`; instead of one in `catalog`, where it is escaped",
    )
    data: DataPlace | None = Field(
        None,
        description="where Parquet files go: a folder, or `s3://bucket/prefix`; by default in the data "
        "directory",
    )
    s3: S3Settings = S3Settings()


class LogSettings(_Section):
    """The durable log."""

    max_bytes: int = Field(
        4 << 30,
        gt=0,
        description="acknowledged requests waiting on disk; beyond, clients are told to try again",
    )


class DedupSettings(_Section):
    """What counts as sent twice."""

    unnumbered: bool = Field(
        True, description="whether records without a sequence number are compared by their content"
    )


class WriteSettings(_Section):
    """From the durable log into the lake."""

    flush_interval: Duration = Field(
        timedelta(seconds=1),
        ge=timedelta(milliseconds=1),
        description="how long rows gather before they are written",
    )
    max_pending_bytes: int = Field(
        96 << 20,
        gt=0,
        description="durable rows waiting to be written; beyond, clients are told to try again",
    )


class DeliverySettings(_Section):
    """Where notifications may go."""

    allow_networks: Networks = Field(
        (),
        description="networks, or single addresses, that notifications may reach beside the public internet, "
        "such as `10.1.0.0/16`; never needed for services on the internet",
    )


class LoggingSettings(_Section):
    """What is said on standard error."""

    format: Literal["auto", "text", "json"] = Field(
        "auto", description="`text`, `json`, or `auto`: text on a terminal, JSON elsewhere"
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="the least severe messages that are shown"
    )


class AlertsSettings(_Section):
    """The alerts that come with Lapwing; none of them where `clock` is `data`."""

    ingest_stalled: bool = Field(
        True,
        description="fire `IngestStalled` for a model that sends nothing any more, where there is a notify "
        "file",
    )
    watchdog: bool = Field(
        False, description="fire `Watchdog` all the time, so that its silence says that nobody would be told"
    )


class StateSettings(_Section):
    """Where states of alerts, and messages, are kept."""

    url: StateServer | None = Field(
        None,
        description="a PostgreSQL database, as `postgresql://lapwing@db.example.org/lapwing`; by default a "
        "file in the data directory",
    )
    password: SecretStr | None = Field(
        None, description="that of its user, as `${env:NAME}`; instead of one in `url`, where it is escaped"
    )
    wait_for_collectors: Duration = Field(
        timedelta(minutes=1),
        ge=timedelta(seconds=1),
        description="how long slots of rules wait for a collector that tells nothing any more",
    )


class MaintenanceSettings(_Section):
    """Keeping the lake small and fast, beside everything else."""

    share: float = Field(
        0.25, gt=0, le=1, description="how much of the time maintenance may work while rows are written"
    )
    longest_query: Duration = Field(
        timedelta(minutes=10),
        ge=timedelta(seconds=1),
        description="how long older states of the lake, and files that left it, are kept for who reads them",
    )
    copy_interval: Duration = Field(
        timedelta(hours=1),
        ge=timedelta(seconds=1),
        description="how often the catalog is copied, for `doctor --rebuild-catalog`",
    )


class ModelRetention(_Section):
    """How long the rows of one model are kept."""

    keep: Age | None = None
    max_bytes: int | None = Field(None, gt=0)


class RetentionSettings(_Section):
    """How long rows are kept."""

    keep: Age | None = Field(
        None, description="rows of predictions, labels and logs go when they are older; None keeps them"
    )
    logs: Age | None = Field(None, description="the same for logs alone")
    profiles: Age | None = Field(
        None, description="the same for counts of values, which are kept when rows go"
    )
    alerts: Duration = Field(
        timedelta(days=90),
        ge=timedelta(days=1),
        description="how long is kept what became of alerts, and messages that were given up",
    )
    messages: Duration = Field(
        timedelta(days=30),
        ge=timedelta(days=1),
        description="how long messages are kept that were delivered, or kept back",
    )
    max_bytes: int | None = Field(
        None, gt=0, description="the oldest files go while all of them together take more"
    )
    models: Annotated[
        dict[str, Annotated[ModelRetention, BeforeValidator(_limit)]], BeforeValidator(_model_limits)
    ] = Field(
        {},
        description="what holds for single tables of models: `90d`, or `{keep: 90d, max_bytes: 1000000}`",
    )


class Settings(_Section):
    """Everything `lapwing up` can be told."""

    data: Path = Field(
        Path("lapwing-data"), description="the data directory; in the file, relative to the file"
    )
    clock: Literal["wall", "data"] = Field(
        "wall", description="what closes rule slots: `wall`, or `data` for replays, where only newer rows do"
    )
    rules: Patterns = Field(("rules/*.yaml",), description="rule files, as patterns beside the settings file")
    models: Patterns = Field(
        ("models/*.yaml",),
        description="files that describe models, as patterns beside the settings file",
    )
    notify: str | None = Field(
        None,
        description="whom to notify, beside the settings file; without it notify.yaml, if there is one",
    )
    durability: Literal["fsync", "os", "memory"] = Field(
        "fsync",
        description="what an acknowledgement survives: `fsync` a power cut, `os` a crash of Lapwing, "
        "`memory` neither",
    )
    redact: str | None = Field(
        None,
        description="what is taken out of requests, beside the settings file; without it redact.yaml, if any",
    )
    insecure: bool = Field(
        False, description="listen beyond this machine although nobody has to show who they are"
    )
    http: HttpSettings = HttpSettings()
    grpc: GrpcSettings = GrpcSettings()
    auth: AuthSettings = AuthSettings()
    tls: TlsSettings = TlsSettings()
    lake: LakeSettings = LakeSettings()
    log: LogSettings = LogSettings()
    dedup: DedupSettings = DedupSettings()
    write: WriteSettings = WriteSettings()
    web: WebSettings = WebSettings()
    query: QuerySettings = QuerySettings()
    delivery: DeliverySettings = DeliverySettings()
    logging: LoggingSettings = LoggingSettings()
    alerts: AlertsSettings = AlertsSettings()
    state: StateSettings = StateSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    retention: RetentionSettings = RetentionSettings()


def settings_file(given: Path | None) -> Path | None:
    """The settings file: the one given, else `lapwing.yaml` of this folder, if there is one."""
    default = Path(SETTINGS_FILE)
    return default if given is None and default.exists() else given


def load_settings(
    file: Path | None, *, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Read settings; a flag wins over an environment variable, that over the file, that over the default.

    Args:
        file: `lapwing.yaml`, or None to go without one.
        flags: Settings given on the command line, by dotted name (`http.listen`), some of them as `Given`;
            None values are left out.
        environment: Variables such as `LAPWING_HTTP__LISTEN`; the process's own if None.

    Raises:
        ConfigError: Something is wrong; the message says where.
    """
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if file is not None:
        merged = read_document(file, Settings).model_dump(exclude_unset=True)
        _anchor(merged, file.parent)
    for name, value in (os.environ if environment is None else environment).items():
        dotted = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
        if name.startswith(ENVIRONMENT_PREFIX) and dotted.split(".")[0] in Settings.model_fields:
            _put(merged, dotted, value)
            sources[dotted] = f"environment variable {name}"
    for dotted, given in (flags or {}).items():
        value, name = given if isinstance(given, Given) else (given, dotted)
        if value is not None:
            _put(merged, dotted, value)
            sources[dotted] = name
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            dotted = ".".join(str(part) for part in detail["loc"])
            if detail["type"] == "value_error":
                what = expectation(str(detail["ctx"]["error"]))
            else:
                expected = detail["msg"].removeprefix("Input should be ")
                what = f"expected {expected}, not {detail['input']!r}"
            lines.append(f"{_said(dotted, sources)}: {what}")
        raise ConfigError("\n".join(lines)) from error


def _said(dotted: str, sources: Mapping[str, str]) -> str:
    """Who said a setting, or what it is a part of."""
    whole = next((each for each in sources if dotted == each or dotted.startswith(f"{each}.")), None)
    return dotted if whole is None else sources[whole] + dotted.removeprefix(whole).replace(".", ": ", 1)


def _anchor(tree: dict[str, Any], folder: Path) -> None:
    """Make the paths that a file names relative to its folder."""
    for key, value in tree.items():
        if isinstance(value, dict):
            _anchor(value, folder)
        elif isinstance(value, Path):
            tree[key] = folder / value


def _put(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, key = dotted.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[key] = value
