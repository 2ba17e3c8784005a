from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.chassis.nats.servers import parse_servers

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "addresses", "tls"),
    [
        ("nats://a", ["a:4222"], False),
        ("nats://a:1", ["a:1"], False),
        ("a:1", ["a:1"], False),
        ("nats:1", ["nats:1"], False),
        ("tls://a:1/", ["a:1"], True),
        ("nats://a:1, nats://b:2", ["a:1", "b:2"], False),
        ("nats://[::1]:1", ["[::1]:1"], False),
    ],
)
def test_addresses_are_read(url, addresses, tls):
    assert parse_servers(url) == (addresses, tls, "", "", "")


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("nats://edge:s3cret@a", ("edge", "s3cret", "")),
        ("nats://e%40x:p%2F%3A%25%20%C3%A9@a", ("e@x", "p/:% é", "")),
        ("nats://s3cret@a", ("", "", "s3cret")),
        ("nats://edge:s3cret@a,nats://b", ("edge", "s3cret", "")),
        ("nats://edge:s3cret@a,nats://edge:s3cret@b", ("edge", "s3cret", "")),
        ("nats://edge:@a", ("edge", "", "")),
    ],
)
def test_who_signs_in_is_read_and_percent_decoded(url, login):
    assert parse_servers(url)[2:] == login


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://a:8222", "8222 is NATS's monitoring"),
        ("postgresql://u:s3cret@a", 'nats:// or tls://, got "postgresql://"'),
        ("wss://a", "WebSocket"),
        ("nats://u:s3cret@a,http://b", "address 2 of 2"),
        ("", "it has no host"),
        ("nats://", "it has no host"),
        ("nats://a:1,", "it has no host"),
        ("nats://:4222", "it has no host"),
        ("nats://a b", "no spaces"),
        ("nats://a nats://b", "several servers are separated by commas"),
        ("nats://u:s3cret x@a", "a space is %20"),
        ("nats:u:s3cret@a", "to begin with nats:// or tls://"),
        ("nats//u:s3cret@a", "to begin with nats:// or tls://"),
        ("tls:/a:1", "to begin with nats:// or tls://"),
        ("nats://u:s3cret,x@a", "percent-encoded"),
        ("nats://a:0", "from 1 to 65535"),
        ("nats://a:65536", "from 1 to 65535"),
        ("nats://a:x", "from 1 to 65535"),
        ("nats://u:s3cret/x@a:1", "percent-encoded"),
        ("nats://u:s3cret#x@a:1", "percent-encoded"),
        ("nats://u:s3cret[x@a:1", "percent-encoded"),
        ("nats://a:1/path", "nothing after the port"),
        ("nats://:s3cret@a", "a user before the password"),
        ("nats://u:s3cret@a,nats://v:s3cret@b", "one user in nats.url"),
    ],
)
def test_a_mistake_is_told_without_what_is_secret(url, said):
    with pytest.raises(ValueError) as told:
        parse_servers(url)
    assert said in str(told.value) and SECRET not in str(told.value)


@given(st.text(alphabet="nats:/@.[]%?#41 \n"), st.text(alphabet="nats:/@.[]%?#41 \n"))
def test_whatever_is_beside_a_secret_it_is_not_told(before, after):
    try:
        told = repr(parse_servers(f"nats://u:{before}{SECRET}{after}@a:1").addresses)
    except ValueError as error:
        told = str(error)
    assert SECRET not in told


@example("nats://u:s3cret?x@a")
@given(st.text(alphabet="nats:/@.[]%?#,41 \n"))
def test_any_text_is_read_or_refused(url):
    try:
        servers = parse_servers(url)
    except ValueError as error:
        assert str(error).startswith("expected ")
    else:
        assert servers.addresses
