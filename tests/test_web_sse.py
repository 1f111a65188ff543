from offgrid.web import sse


def test_an_event_is_one_data_line_and_an_empty_line():
    assert sse.event(b'{"a":1}') == b'data: {"a":1}\n\n'


def test_every_kind_of_line_break_starts_another_data_line():
    assert sse.event(b"a\nb\r\nc\rd\n") == b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"


def test_a_comment_holds_no_data():
    assert sse.comment() == b":\n\n"


def test_done_is_an_event_of_its_own():
    assert sse.event(b"[DONE]") == sse.DONE
