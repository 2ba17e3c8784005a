"""The valid forms of `postgres.url`, and the errors for invalid ones, which do not show it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.postgres.url import check_url, each_server, target_of

PASSWORD = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1/none",
        "postgres://u:p%40ss%2Fw@db.example:5432/fairlead",
        "postgresql://u@[::1]:5433/x?sslmode=verify-full&application_name=fairlead",
        "postgresql://a:5432,b:5433,c/x?target_session_attrs=primary",
        "postgresql:///fairlead?host=/var/run/postgresql",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/fairlead",
        "postgresql://",
    ],
)
def test_what_libpq_takes_is_taken(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"mysql://u:{PASSWORD}@h/x", "expected postgres.url to begin with postgresql://"),
        (f"postgresql+asyncpg://u:{PASSWORD}@h/x", "expected postgres.url to begin with postgresql://"),
        (f"u:{PASSWORD}@h/x", "expected postgres.url to begin with postgresql://"),
        (f"postgresql://u:{PASSWORD}@h:0/x", "with ports from 1 to 65535"),
        (f"postgresql://u:{PASSWORD}@h:70000/x", "with ports from 1 to 65535"),
        (f"postgresql://u:{PASSWORD}@h:5432x/x", "with ports from 1 to 65535"),
        (f"postgresql://u:{PASSWORD}@a,/x", "with ports from 1 to 65535"),
        (f"postgresql://u:{PASSWORD}@a,:5432/x", "with ports from 1 to 65535"),
        (f"postgresql://u:{PASSWORD}#1@h/x", "# as %23"),
        (f"postgresql://u:{PASSWORD}/1@h/x", "/ as %2F"),
        (f"postgresql://u:{PASSWORD}@1@h:x/x", "@ is written as %40"),
        (f"postgresql://u:{PASSWORD}@[::1/x", "expected postgres.url like postgresql://"),
        (f"postgresql://u:{PASSWORD}@h/x?sslmode", "expected postgres.url like postgresql://"),
        (f"postgresql://u:{PASSWORD}@h/x?sslmode=yes", "expected sslmode to be one of disable, allow,"),
        (f"postgresql://u:{PASSWORD}@h/x?target_session_attrs=standby", "expected target_session_attrs to be one of"),
        (f"postgresql://u:{PASSWORD}@h/x?connect_timeout=5", "the option connect_timeout is not offered here"),
        (f"postgresql://u:{PASSWORD}@h/x?port=x", "expected port to be a number"),
        (f"postgresql:///x?password={PASSWORD}&host=a,b", "expected several servers before the path"),
        (f"postgresql://u:{PASSWORD}@h/x?sslrootcert=/nowhere.pem", "the file of sslrootcert cannot be read: no such"),
        (f"postgresql://u:{PASSWORD}@{','.join('abcdefghi')}/x", "at most 8 servers, got 9"),
    ],
)
def test_a_mistake_is_told_and_the_password_is_not(url: str, said: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_url(url)
    assert said in str(refused.value) and PASSWORD not in str(refused.value)


def test_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    check_url(f"postgresql://h/x?sslrootcert={tmp_path / 'ca.pem'}")


def test_several_servers_are_one_address_each_and_the_one_that_takes_writes_is_wanted() -> None:
    assert each_server("postgresql://u:p@p:1,[::1]:2,c/p?a=b") == [
        "postgresql://u:p@p:1/p?a=b",
        "postgresql://u:p@[::1]:2/p?a=b",
        "postgresql://u:p@c/p?a=b",
    ]
    assert each_server("postgresql:///x?host=/run") == ["postgresql:///x?host=/run"]
    assert target_of("postgresql://a,b/x") == "read-write"
    assert target_of("postgresql://a/x") is None is target_of("postgresql://a,b/x?target_session_attrs=any")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:/@[]?#,%=&\x00é. 19", max_size=30).map(lambda rest: f"postgresql://{rest}") | st.text())
def test_anything_is_an_address_or_a_value_error(url: str) -> None:
    try:
        check_url(url)
    except ValueError as error:
        assert url not in str(error) or len(url) < 15
    else:
        assert each_server(url)
