"""Who may do what: tokens with scopes, certificates, and which addresses need them."""

from lapwing_collector.auth.exposure import is_loopback, refuse_open_addresses
from lapwing_collector.auth.tls import TlsFiles
from lapwing_collector.auth.tokens import Scope, Tokens

__all__ = ["Scope", "TlsFiles", "Tokens", "is_loopback", "refuse_open_addresses"]
