"""Certificates for encrypted connections."""

import ssl

from lapwing._config import Settings


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Load the certificates to trust, those of the system where none are named, and the one to show.

    Raises:
        OSError: A file cannot be used; the message names it.
    """
    try:
        context = ssl.create_default_context(cafile=settings.certificate)
        if settings.client_certificate:
            # An empty password, or OpenSSL would ask for that of an encrypted key at the terminal.
            context.load_cert_chain(settings.client_certificate, settings.client_key, password="")
    except OSError as error:
        files = filter(None, (settings.certificate, settings.client_certificate, settings.client_key))
        raise OSError(
            f"cannot use {' or '.join(files) or 'the certificates of the system'}: {error}"
        ) from error
    return context
