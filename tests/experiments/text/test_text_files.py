"""Files as streams of text: what is read, where they are cut, what is refused."""

import os
from fractions import Fraction

import pytest

from experiments.record.errors import UserError
from experiments.text import text_files

THREE_PARTS = [Fraction(50), Fraction(30), Fraction(20)]


def read(part):
    return "".join(part.pieces("reading"))


@pytest.fixture(params=[1, 2, 3, 7, 1000])
def piece_bytes(request, monkeypatch):
    """However a file is cut into pieces, its text is the same."""
    monkeypatch.setattr(text_files, "PIECE_BYTES", request.param)


@pytest.mark.usefixtures("piece_bytes")
@pytest.mark.parametrize("text", ["", "a", "é\r\n\r\n€\r𝄞\n\n\r", "\ufeff\ufeffa\r"])
def test_text_is_that_of_the_whole_file(tmp_path, text):
    path = tmp_path / "text"
    path.write_bytes(text.encode())
    expected = path.read_text(encoding="utf-8-sig")
    part = text_files.whole(path)
    assert read(part) == expected
    digest, num_bytes = text_files.digest(part.pieces("reading"))
    assert (digest, num_bytes) == text_files.digest([expected])
    assert num_bytes == len(expected.encode())


@pytest.mark.usefixtures("piece_bytes")
@pytest.mark.parametrize(
    "content, offset, byte",
    [(b"ab\xff", 2, "ff"), ("é€".encode() + b"\xe2\x82", 5, "e2"), (b"\xef\xbb\xbfa\x80", 4, "80")],
)
def test_wrong_byte_is_named_by_its_offset_in_the_file(tmp_path, content, offset, byte):
    path = tmp_path / "text"
    path.write_bytes(content)
    said = rf"text is not UTF-8: byte {offset} is 0x{byte}; convert the file"
    with pytest.raises(UserError, match=said):
        read(text_files.whole(path))


@pytest.mark.usefixtures("piece_bytes")
def test_parts_begin_at_the_first_line_start_at_or_after_their_share(tmp_path):
    path = tmp_path / "text"
    for lines, expected in [
        (["ab\n"] * 10, ["ab\n" * 5, "ab\n" * 3, "ab\n" * 2]),
        (["é\r\n"] * 10, ["é\n" * 5, "é\n" * 3, "é\n" * 2]),
        (["ab\r"] * 10, ["ab\n" * 5, "ab\n" * 3, "ab\n" * 2]),
        (["ab "] * 10, ["ab " * 5, "ab " * 3, "ab " * 2]),
        (["é"] * 10, ["é" * 5, "é" * 3, "é" * 2]),
        (["a" * 50 + "\n", "b" * 20 + "\n", "c"], ["a" * 50 + "\n", "b" * 20 + "\n", "c"]),
    ]:
        path.write_bytes("".join(lines).encode())
        assert [read(part) for part in text_files.split(path, THREE_PARTS)] == expected


@pytest.mark.parametrize(
    "content, said",
    [(b"", "is empty"), (b"a long line\nb", "too short"), (b"x", "too short")],
)
def test_file_that_cannot_be_split_is_refused(tmp_path, content, said):
    path = tmp_path / "text"
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        text_files.split(path, THREE_PARTS)


def test_what_is_not_a_regular_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, said in [
        (tmp_path, "is a folder"),
        (tmp_path / "pipe", "is a pipe or a device"),
        (tmp_path / "none", "cannot be read: No such file"),
        ("/dev/zero", "is a pipe or a device"),
    ]:
        with pytest.raises(UserError, match=said):
            text_files.whole(path)


def test_file_that_changes_is_not_taken_for_one_text(tmp_path):
    path = tmp_path / "text"
    path.write_text("first\n")
    part = text_files.whole(path)
    pieces = part.pieces("reading")
    next(pieces)
    path.write_text("second\n")
    with pytest.raises(UserError, match="was changed while it was read"):
        list(pieces)
