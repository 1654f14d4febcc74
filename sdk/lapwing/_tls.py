"""Certificates for encrypted connections."""

import ssl


def tls_context(
    authority: str | None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Load the certificates to trust, those of the system where none are named, and the one to show.

    Args:
        authority: File of certificates to trust.
        certificate: File of the certificate to show.
        key: File of its key, where that is not in the same file.

    Raises:
        OSError: A file cannot be used; the message names it.
    """
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate:
            # An empty password, or OpenSSL would ask for that of an encrypted key at the terminal.
            context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        files = filter(None, (authority, certificate, key))
        raise OSError(
            f"cannot use {' or '.join(files) or 'the certificates of the system'}: {error}"
        ) from error
    return context
