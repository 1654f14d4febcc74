"""Certificates of the servers, from files."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from lapwing_collector.errors import ConfigError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What servers show, and whom they trust.

    Attributes:
        certificate: The chain of certificates, in PEM.
        key: Its private key, in PEM.
        client_authority: Authorities, in PEM, of which a client must show a certificate; None asks for none.
    """

    certificate: Path
    key: Path
    client_authority: Path | None = None

    def context(self) -> ssl.SSLContext:
        """What an HTTP server needs.

        Raises:
            ConfigError: A file can not be used; the message names it.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"tls: certificate {self.certificate} and key {self.key} cannot be used: {error}"
            ) from error
        if self.client_authority is not None:
            try:
                context.load_verify_locations(self.client_authority)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"tls.client_authority: {self.client_authority} cannot be used: {error}"
                ) from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def read(self) -> tuple[bytes, bytes, bytes | None]:
        """Certificate, key and authority as bytes, for a gRPC server.

        Raises:
            ConfigError: A file can not be used; the message names it.
        """
        self.context()  # says what is wrong with them, where gRPC would only not start
        authority = None if self.client_authority is None else self.client_authority.read_bytes()
        return self.certificate.read_bytes(), self.key.read_bytes(), authority
