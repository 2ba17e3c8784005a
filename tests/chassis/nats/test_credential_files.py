from __future__ import annotations

import pytest

from services.chassis.nats.credential_files import BadFile, read_creds, read_nkey
from tests.support.nats_identities import ACCOUNT, USER, Identity, Trust


@pytest.fixture
def path(tmp_path):
    return tmp_path / "secret"


def test_a_seed_is_read_with_or_without_its_decoration(path):
    user = Identity(USER)
    for text in (user.seed, f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"):
        path.write_text(text)
        assert read_nkey(str(path)).public() == user.public
        assert user.public.startswith("U") and user.seed.startswith("SU")


def test_credentials_have_a_jwt_and_a_seed(path):
    text = Trust().creds()
    path.write_text(text)
    creds = read_creds(str(path))
    assert creds.jwt in text and creds.jwt.count(".") == 2
    path.write_text(text.replace("\n", "\r\n"))
    assert read_creds(str(path)) == creds


def test_what_a_file_lacks_is_told_and_nothing_of_what_it_has(path):
    user, creds = Identity(USER), Trust().creds()
    seed = user.seed
    damaged = seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]
    for text, said in (
        ("", "has no seed of a user"),
        ("a password", "has no seed of a user"),
        (damaged, "checksum"),
        (Identity(ACCOUNT).seed, "seed of an account"),
    ):
        path.write_text(text)
        with pytest.raises(BadFile, match=said) as told:
            read_nkey(str(path))
        assert str(path) in str(told.value) and (not text or text not in str(told.value))
    for text, said in (
        (seed, "no NATS USER JWT"),
        (creds.partition("*")[0], "no seed"),
        ("-----BEGIN NATS USER JWT-----\n", "no NATS USER JWT"),
        (creds[:200], "no NATS USER JWT"),
    ):
        path.write_text(text)
        with pytest.raises(BadFile, match=said):
            read_creds(str(path))


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path):
    with pytest.raises(BadFile, match="No such file"):
        read_nkey(str(tmp_path / "nothing"))
    with pytest.raises(BadFile, match="directory"):
        read_creds(str(tmp_path))
