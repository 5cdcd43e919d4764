import io

from signerd_client.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_on_a_terminal() -> None:
    stream = Terminal()
    with Progress(4, stream) as progress:
        progress.advance(1)
        progress.advance(3)
    assert stream.getvalue().startswith("\r[" + "." * 30 + "] 0/4")
    assert stream.getvalue().endswith("\r[" + "#" * 30 + "] 4/4\n")


def test_nothing_is_drawn_elsewhere() -> None:
    stream = io.StringIO()
    with Progress(1, stream) as progress:
        progress.advance(1)
    assert not stream.getvalue()


def test_no_items_are_a_full_bar() -> None:
    stream = Terminal()
    with Progress(0, stream):
        pass
    assert "] 0/0" in stream.getvalue()
