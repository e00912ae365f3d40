"""The settings that secure the connection to NATS: who we are, and who the server has to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from mnc.config.fields import Allowed
from mnc.config.files import read_secret
from mnc.config.nkeys import check_user_seed

__all__ = ["NatsSecurity", "login_setting"]

_LOGINS = ("nats_creds_file", "nats_nkey_seed", "nats_user", "nats_token")
_PARTNERS = {"nats_password": "nats_user", "nats_tls_key_file": "nats_tls_cert_file"}


class NatsSecurity(BaseModel):
    """How to log in to NATS and how to use TLS.

    Invariants: frozen; at most one way to log in is set; a user comes with a password, and a
    certificate with its key. What the files hold is checked by those who use them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    nats_creds_file: Annotated[
        str | None,
        Field(min_length=1, description="A .creds file, to log in with its JWT and nkey."),
        Allowed("the path of a .creds file"),
    ] = None
    nats_nkey_seed: Annotated[
        SecretStr | None,
        Field(description="The seed of a user's nkey, to log in with."),
        Allowed("SU and 56 more letters and digits"),
    ] = None
    nats_user: Annotated[
        str | None,
        Field(min_length=1, description="The name of a user, to log in with NATS_PASSWORD."),
        Allowed("a name"),
    ] = None
    nats_password: Annotated[
        SecretStr | None,
        Field(min_length=1, validate_default=True, description="The password of NATS_USER."),
        Allowed("a password"),
    ] = None
    nats_token: Annotated[
        SecretStr | None,
        Field(min_length=1, description="A token, to log in with."),
        Allowed("a token"),
    ] = None
    nats_tls_ca_file: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The authorities to trust with the servers' certificates; "
            "unset, those of the system.",
        ),
        Allowed("the path of a PEM file with one or more certificates"),
    ] = None
    nats_tls_cert_file: Annotated[
        str | None,
        Field(min_length=1, description="The client certificate, with those between it and a CA."),
        Allowed("the path of a PEM file with a certificate"),
    ] = None
    nats_tls_key_file: Annotated[
        str | None,
        Field(
            min_length=1,
            validate_default=True,
            description="The private key of NATS_TLS_CERT_FILE.",
        ),
        Allowed("the path of a PEM file with a private key that is not encrypted"),
    ] = None
    nats_tls_hostname: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The name that the servers' certificates are for; unset, that in the URL.",
        ),
        Allowed("a host name or an IP address"),
    ] = None
    nats_tls_handshake_first: Annotated[
        bool,
        Field(description="Whether TLS begins before the server's greeting."),
        Allowed("true or false, as handshake_first in the servers' configuration"),
    ] = False

    _secret_files: Mapping[str, str] = PrivateAttr(default_factory=dict)
    """Where secrets were read from, by their field's name."""

    def model_post_init(self, context: object, /) -> None:
        """Remember where secrets were read from, when the validation's context says so."""
        if isinstance(context, Mapping):
            self._secret_files = context

    @property
    def nats_login(self) -> str | None:
        """The name of the setting that says how to log in, or None."""
        return login_setting(dict(self))

    def secret_now(self, field: str) -> str | None:
        """Return a secret; one from a file is read again, for it may have been renewed.

        Raises ConfigError when it can't be read any more.
        """
        if path := self._secret_files.get(field):
            return read_secret(f"{field.upper()}_FILE", path)
        secret = getattr(self, field)
        return secret.get_secret_value() if isinstance(secret, SecretStr) else None

    @field_validator(*_LOGINS)
    @classmethod
    def _is_the_only_login(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and (other := login_setting(info.data)):
            raise ValueError(f"{other} is set too; unset one of them")
        return value

    @field_validator(*_PARTNERS)
    @classmethod
    def _has_its_partner(cls, value: object, info: ValidationInfo) -> object:
        partner = _PARTNERS[str(info.field_name)]
        if partner not in info.data:  # it is wrong itself
            return value
        if value is None and info.data[partner] is not None:
            raise ValueError(f"{partner.upper()} needs it")
        if value is not None and info.data[partner] is None:
            raise ValueError(f"it needs {partner.upper()}")
        return value

    @field_validator("nats_nkey_seed")
    @classmethod
    def _is_a_users_seed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            check_user_seed(value.get_secret_value())
        return value


def login_setting(values: Mapping[str, object]) -> str | None:
    """Return the name of the first setting among `values` that is a way to log in, or None."""
    return next((field.upper() for field in _LOGINS if values.get(field) is not None), None)
