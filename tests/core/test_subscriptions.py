"""What a session wants is asked for in every session, in parts, and again when refused."""

from edgekit.subscriptions import MAX_FILTERS_A_REQUEST, Subscriptions


class Broker:
    """Numbers what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[dict[str, int]] = []

    def ask(self, filters: list[tuple[str, int]]) -> int | None:
        self.asked.append(dict(filters))
        return len(self.asked)


def test_many_filters_are_asked_for_in_parts() -> None:
    broker = Broker()
    wanted = {f"t{n}": 1 for n in range(2 * MAX_FILTERS_A_REQUEST + 1)}
    Subscriptions(broker.ask).ask_for(wanted)
    assert [len(part) for part in broker.asked] == [8, 8, 1]
    assert {topic for part in broker.asked for topic in part} == wanted.keys()


def test_every_session_asks_for_all_that_is_wanted_then() -> None:
    broker = Broker()
    subscriptions = Subscriptions(broker.ask)
    subscriptions.want({"a": 0, "b": 1})
    assert broker.asked == []
    subscriptions.session_began()
    subscriptions.forget(["a"])
    subscriptions.session_began()
    assert broker.asked == [{"a": 0, "b": 1}, {"b": 1}]


def test_what_is_refused_is_news_once_and_asked_for_again_until_it_is_granted() -> None:
    broker = Broker()
    subscriptions = Subscriptions(broker.ask)
    subscriptions.ask_for({"a": 1, "b": 1})
    assert subscriptions.answered(1, [False, True], now=0) == 1
    subscriptions.ask_again(0.5)
    assert len(broker.asked) == 1
    subscriptions.ask_again(1.5)
    assert broker.asked[1:] == [{"a": 1}]
    assert subscriptions.answered(2, [False], now=1.6) == 0
    subscriptions.ask_again(5)
    assert subscriptions.answered(3, [True], now=5.1) == 0
    subscriptions.ask_again(1000)
    assert len(broker.asked) == 3


def test_an_answer_of_the_session_before_counts_for_nothing() -> None:
    broker = Broker()
    subscriptions = Subscriptions(broker.ask)
    subscriptions.ask_for({"a": 1})
    subscriptions.session_began()
    assert subscriptions.answered(1, [False], now=0) == 0
    subscriptions.ask_again(1000)
    assert len(broker.asked) == 1


def test_what_is_wanted_no_more_is_not_asked_for_again() -> None:
    broker = Broker()
    subscriptions = Subscriptions(broker.ask)
    subscriptions.ask_for({"a": 1})
    subscriptions.answered(1, [False], now=0)
    subscriptions.forget(["a"])
    subscriptions.ask_again(1000)
    assert len(broker.asked) == 1
