from services.kernel.memo import Memo


def test_a_value_is_asked_about_once() -> None:
    asked: list[str] = []

    def upper(text: str) -> str:
        asked.append(text)
        return text.upper()

    memo = Memo(upper, 10)
    assert [memo["a"], memo["a"], memo["b"]] == ["A", "A", "B"]
    assert asked == ["a", "b"]


def test_an_error_goes_to_the_caller_each_time() -> None:
    memo: Memo[int, int] = Memo(lambda number: 1 // number, 10)
    for _ in range(2):
        try:
            memo[0]
        except ZeroDivisionError:
            continue
        raise AssertionError("the error was swallowed")
    assert not memo


def test_no_more_is_kept_than_the_limit_and_no_long_text_at_all() -> None:
    memo: Memo[str, int] = Memo(len, 3)
    assert [memo["x" * length] for length in (1, 2, 3, 4, 1000)] == [1, 2, 3, 4, 1000]
    assert len(memo) == 1, "at the limit all were forgotten, then one was asked about; the long one was not kept"
