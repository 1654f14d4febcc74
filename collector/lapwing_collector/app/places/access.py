"""Who may send to the collector and ask it, as the settings say."""

from collections.abc import Mapping

import grpc

from lapwing_collector.auth import Scope, TlsFiles, Tokens, refuse_open_addresses
from lapwing_collector.config import Settings, referenced_files, resolve_references
from lapwing_collector.errors import AccessError, ConfigError


class Access:
    """Tokens and certificates of all servers.

    Attributes:
        tls: The certificates; None where nothing is encrypted.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the files that the settings name.

        Raises:
            ConfigError: One can not be used, or others can reach an address and nothing says who may.
        """
        tls = settings.tls
        self.tls: TlsFiles | None = None
        if tls.certificate is not None and tls.key is not None:
            self.tls = TlsFiles(tls.certificate, tls.key, tls.client_authority)
        elif any((tls.certificate, tls.key, tls.client_authority)):
            raise ConfigError("tls: certificate and key need each other, and client_authority needs both")
        tokens = settings.auth.tokens
        self._tokens = Tokens(tokens, resolve_references, referenced_files) if tokens is not None else None
        refuse_open_addresses(
            _addresses(settings),
            protected=tokens is not None or tls.client_authority is not None,
            insecure=settings.insecure,
        )

    def check(self, authorization: str | None, scope: Scope) -> None:
        """Let pass who may.

        Args:
            authorization: The value of a request's `Authorization` header, if it has one.
            scope: What it wants to do.

        Raises:
            AccessError: It may not.
        """
        if self._tokens is not None:
            self._tokens.check(authorization, scope)

    def check_write(self, authorization: str | None) -> None:
        """Let pass who may send; see `check`."""
        self.check(authorization, Scope.WRITE)

    def judge(self, authorization: str | None, scope: str) -> int:
        """The status of a request that wants to do what `scope` says: 200 if it may; see `check`."""
        try:
            self.check(authorization, Scope(scope))
        except AccessError as error:
            return error.status_hint
        return 200

    @property
    def open(self) -> bool:
        """Whether nobody needs a token."""
        return self._tokens is None

    def grpc_credentials(self) -> grpc.ServerCredentials | None:
        """The certificates for a gRPC server; None where nothing is encrypted.

        Raises:
            ConfigError: A file can not be used; the message names it.
        """
        if self.tls is None:
            return None
        certificate, key, authority = self.tls.read()
        return grpc.ssl_server_credentials([(key, certificate)], authority, authority is not None)


def _addresses(settings: Settings) -> Mapping[str, str]:
    """Where servers listen, by setting."""
    sections = ((name, getattr(section, "listen", None)) for name, section in settings)
    return {f"{name}.listen": listen for name, listen in sections if isinstance(listen, str)}
