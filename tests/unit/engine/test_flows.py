from __future__ import annotations

from flow_manager.engine.flows import DigestCache


def test_what_was_put_is_found_again() -> None:
    cache: DigestCache[str] = DigestCache(most_bytes=10)

    cache.put("a", "flow a", 4)

    assert cache.get("a") == "flow a"
    assert cache.get("b") is None


def test_the_least_recently_used_goes_first() -> None:
    cache: DigestCache[str] = DigestCache(most_bytes=10)
    cache.put("a", "flow a", 4)
    cache.put("b", "flow b", 4)
    cache.get("a")

    cache.put("c", "flow c", 4)

    assert [cache.get(name) for name in "abc"] == ["flow a", None, "flow c"]


def test_putting_again_does_not_count_twice() -> None:
    cache: DigestCache[str] = DigestCache(most_bytes=10)
    cache.put("a", "flow a", 4)

    for _ in range(5):
        cache.put("b", "flow b", 5)

    assert cache.get("a") == "flow a"


def test_one_that_is_too_large_is_kept_alone() -> None:
    cache: DigestCache[str] = DigestCache(most_bytes=10)
    cache.put("a", "flow a", 4)

    cache.put("b", "flow b", 40)

    assert cache.get("a") is None
    assert cache.get("b") == "flow b"
