"""The paths of fields in the settings: what may be hidden, and how."""

from __future__ import annotations

import pytest

from mnc.config import load_settings
from mnc.config.paths import split_mask
from mnc.errors import ConfigError

_ENOUGH = {
    "MONGO_URI": "mongodb://127.0.0.1:27017/shop",
    "MONGO_WATCH_COLLECTIONS": "users",
}
_KEY = "0123456789abcdef"


def test_paths_and_masks_are_read() -> None:
    """Paths stand in a list, those of masks with what becomes of the value."""
    settings = load_settings(
        {
            **_ENOUGH,
            "MONGO_EXCLUDE_FIELDS": "ssn, address.street",
            "MONGO_MASK_FIELDS": "email:hash,address.city:redact",
            "MONGO_MASK_KEY": _KEY,
        }
    )
    assert settings.mongo_exclude_fields == ("ssn", "address.street")
    masks = [split_mask(entry) for entry in settings.mongo_mask_fields]
    assert masks == [("email", "hash"), ("address.city", "redact")]
    assert _KEY not in repr(settings)


def test_redacting_needs_no_key() -> None:
    """Only hashes have a key."""
    assert load_settings({**_ENOUGH, "MONGO_MASK_FIELDS": "a:redact"}).mongo_mask_key is None


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"MONGO_EXCLUDE_FIELDS": "a..b"}, "'a..b' has an empty name in it"),
        ({"MONGO_EXCLUDE_FIELDS": "a.$b"}, "begins with $"),
        ({"MONGO_EXCLUDE_FIELDS": "_id"}, "_id can't be hidden"),
        ({"MONGO_EXCLUDE_FIELDS": "_id.tenant"}, "_id can't be hidden"),
        ({"MONGO_EXCLUDE_FIELDS": "a,a"}, "'a' is covered by 'a' already"),
        ({"MONGO_EXCLUDE_FIELDS": "a.b,c,a"}, "'a.b' is covered by 'a' already"),
        ({"MONGO_MASK_FIELDS": "a"}, "'a' doesn't end with :hash or :redact"),
        ({"MONGO_MASK_FIELDS": "a:sha256"}, "'a:sha256' doesn't end with :hash or :redact"),
        ({"MONGO_MASK_FIELDS": "_id:redact"}, "_id can't be hidden"),
        ({"MONGO_MASK_FIELDS": "a:redact,a:redact"}, "covered"),
        ({"MONGO_MASK_FIELDS": "a.b:redact", "MONGO_EXCLUDE_FIELDS": "a"}, "'a.b' is covered"),
        ({"MONGO_MASK_FIELDS": "a:hash"}, "hashing needs MONGO_MASK_KEY"),
    ],
)
def test_what_would_hide_nothing_or_not_clearly_is_refused(
    variables: dict[str, str], problem: str
) -> None:
    """A mistake in what must not be seen ends the process, before anything is published."""
    with pytest.raises(ConfigError) as caught:
        load_settings(_ENOUGH | variables)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(tuple(variables))


def test_a_short_key_is_refused_and_not_shown() -> None:
    """It could be found by trying."""
    with pytest.raises(ConfigError) as caught:
        load_settings({**_ENOUGH, "MONGO_MASK_KEY": "short-key"})
    assert "MONGO_MASK_KEY" in str(caught.value)
    assert "short-key" not in str(caught.value)
