"""Which pages may connect, and which patterns are a mistake."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.origins import Origins, check_pattern


@pytest.mark.parametrize("patterns", [[], ["*"], ["https://example.com"]])
def test_a_client_that_is_no_browser_sends_no_origin(patterns: list[str]) -> None:
    assert Origins(patterns).allow(None)


@pytest.mark.parametrize(
    ("patterns", "origin"),
    [
        (["*"], "https://anything.example"),
        (["*"], "null"),
        (["null"], "null"),
        (["https://example.com"], "https://example.com"),
        (["https://Example.com"], "HTTPS://EXAMPLE.com"),
        (["https://*.example.com"], "https://chat.example.com"),
        (["https://a.example", "https://b.example:8443"], "https://b.example:8443"),
        (["http://localhost:*"], "http://localhost:3000"),
        (["https://*.*.example.com"], "https://a.b.example.com"),
        (["http://[::1]:3000"], "http://[::1]:3000"),
    ],
)
def test_origins_that_may(patterns: list[str], origin: str) -> None:
    assert Origins(patterns).allow(origin)


@pytest.mark.parametrize(
    ("patterns", "origin"),
    [
        ([], "https://example.com"),
        ([], ""),
        (["https://example.com"], "http://example.com"),
        (["https://example.com"], "https://example.com.evil.example"),
        (["https://example.com"], "https://evil.example/https://example.com"),
        (["https://example.com"], "https://example.com\n.evil.example"),
        (["https://example.com"], "https://example.com:8443"),
        (["https://a.example", "https://b.example"], "https://b.example.evil.example"),
        (["https://*.example.com"], "https://example.com"),
        (["https://*.example.com"], "https://example.com.evil.example"),
        (["https://example.com"], "https://exampleXcom"),
        (["https://example.com"], "null"),
        (["https://a*a.example"], "https://a.example"),
        (["https://*.*.example.com"], "https://a.example.com"),
    ],
)
def test_origins_that_may_not(patterns: list[str], origin: str) -> None:
    assert not Origins(patterns).allow(origin)


@pytest.mark.parametrize("pattern", ["https://ex?mple.com", "https://[de]x.com", "http://[::1]:3000"])
def test_only_the_star_is_special(pattern: str) -> None:
    assert Origins([pattern]).allow(pattern)
    assert not any(
        Origins([pattern]).allow(each) for each in ("https://example.com", "https://dx.com", "http://::3000")
    )


@given(st.lists(st.text("ab*", max_size=6), max_size=3), st.text("ab", max_size=8))
def test_a_star_is_any_text(patterns: list[str], origin: str) -> None:
    def fits(pattern: str, text: str) -> bool:
        if not pattern.startswith("*"):
            return pattern[:1] == text[:1] and (not pattern or fits(pattern[1:], text[1:]))
        return any(fits(pattern[1:], text[at:]) for at in range(len(text) + 1))

    assert Origins(patterns).allow(origin) == any(fits(pattern, origin) for pattern in patterns)


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "null",
        "https://example.com",
        "https://Example.com:8443",
        "https://*.example.com",
        "*.example.com",
        "*://example.com",
        "*://example.com:443",
        "https://*",
        "http*",
        "https://example.com:*",
        "http://localhost:3000",
        "http://127.0.0.1:80*",
        "http://[::1]:3000",
        "https://example.com:80",
        "http://example.com:443",
        "chrome-extension://abcdefgh",
        "capacitor://localhost",
        "file://",
        "https://xn--bcher-kva.example",
        "https://under_score.example",
    ],
)
def test_patterns_that_some_page_matches(pattern: str) -> None:
    check_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("https://example.com/", "https://example.com"),
        ("https://example.com/app", "https://example.com"),
        ("https://*.example.com/*", "https://*.example.com"),
        ("https://example.com:443", "https://example.com"),
        ("https://*.example.com:443/", "https://*.example.com"),
        ("http://example.com:80", "http://example.com"),
        ("http://[::1]:80", "http://[::1]"),
        ("example.com", "https://example.com"),
        ("example.com:8443", "https://example.com:8443"),
        ("localhost:3000", "https://localhost:3000"),
        ("//example.com", "https://example.com"),
        ("https:example.com", ""),
        ("https://user@example.com", "https://example.com"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://*.bücher.example:8443", "https://*.xn--bcher-kva.example:8443"),
        ("https://ex?mple.com", ""),
        ("https://[de]x.com", ""),
        (" https://example.com", "https://example.com"),
        ("https://example.com:port", ""),
        ("https://", ""),
        ("", ""),
    ],
)
def test_a_pattern_that_no_page_matches_is_refused_with_what_was_meant(pattern: str, meant: str) -> None:
    with pytest.raises(ValueError, match="no browser sends") as refused:
        check_pattern(pattern)
    said = str(refused.value).partition("expected ")[2]
    assert said == (f'"{meant}"' if meant else 'an origin such as "https://example.com" or "http://localhost:3000"')
