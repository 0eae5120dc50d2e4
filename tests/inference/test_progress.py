import builtins

import pytest

from mmseg_pointrend.inference.progress import Bar, progress_bar


def test_shows_how_many_are_done_and_says_lines_as_they_are(
    capfd: pytest.CaptureFixture[str],
) -> None:
    name = "failed [bold]" + "long " * 60
    with progress_bar(3) as bar:
        assert isinstance(bar, Bar)
        bar.advance(2)
        bar.say(name)
        bar.advance()
    printed = capfd.readouterr()
    assert name in printed.err
    assert "3/3" in printed.err
    assert not printed.out


@pytest.mark.parametrize("reason", ["off", "no rich"])
def test_lines_are_said_without_a_bar(
    reason: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_rich(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    if reason == "no rich":
        monkeypatch.setattr(builtins, "__import__", without_rich)
    with progress_bar(None, shown=reason != "off") as bar:
        bar.advance()
        bar.say("a line")
    assert capfd.readouterr().err == "a line\n"
