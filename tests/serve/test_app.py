"""The endpoints, through HTTP."""

import json
import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from nmt.config import DecodeConfig
from nmt.decoding import Alternative, Translation, Translator
from nmt.errors import InputError

StartServer = Callable[..., httpx.Client]
LANGUAGES = {"source": "en", "target": "de"}


class Shouting:
    """Stands in for a `Translator`: upper case, and whatever else a test wants to happen."""

    source_language, target_language = "en", "de"

    def __init__(self, before: Callable[[], None] = lambda: None) -> None:
        self.before = before
        self.calls: list[list[str]] = []

    def translate(
        self, texts: Sequence[str], decode: DecodeConfig, *, alignments: bool = False
    ) -> list[Translation]:
        self.calls.append(list(texts))
        self.before()
        return [self._translation(text, decode.n_best, alignments) for text in texts]

    def _translation(self, text: str, n_best: int, alignments: bool) -> Translation:
        others = [text.upper() + "?", text.upper() + "?", text.upper()][: n_best - 1]
        return Translation(
            text=text.upper(),
            score=-float(len(text)),
            log_probability=-float(len(text)),
            tokens=["▁", text.upper()],
            source_tokens=[text],
            alignment=np.array([[0.123456], [1.0]]) if alignments else None,
            alternatives=[Alternative(other, -9.0, -9.0, [other], False) for other in others],
            truncated=len(text) > 8,
        )


@pytest.fixture
def shouting() -> Shouting:
    return Shouting()


@pytest.fixture
def client(start_server: StartServer, shouting: Shouting) -> httpx.Client:
    return start_server(shouting)


def test_a_real_model(start_server: StartServer, translator: Translator) -> None:
    client = start_server(translator)
    texts = ["A man is sleeping.", "Two dogs\nThe woman"]
    answer = client.post(
        "/translate", json={"q": texts, **LANGUAGES, "alternatives": 2, "alignments": True}
    )
    assert answer.status_code == 200
    first, second = answer.json()["translatedText"]
    dogs, woman, man = translator.translate(["Two dogs", "The woman", texts[0]])
    assert first == man.text
    assert second == f"{dogs.text}\n{woman.text}"
    alignment = answer.json()["alignments"][0][0]
    assert alignment["source"] == man.source_tokens
    assert len(alignment["weights"]) == len(alignment["target"])
    assert answer.json()["alternatives"][0]


# The forms of a request


@pytest.mark.parametrize(
    "request_form",
    [
        {"json": {"q": "a dog", **LANGUAGES}},
        {"data": {"q": "a dog", **LANGUAGES}},
        {"params": {"q": "a dog", **LANGUAGES}},
        {"params": {"q": "a dog"}, "data": LANGUAGES},
        {"params": {"q": "a dog", **LANGUAGES}, "data": {"q": "a cat", "target": "zz"}},
        {"params": {"q": "a cat"}, "json": {"q": "a dog", **LANGUAGES}},
        {"json": {"q": "a dog", **LANGUAGES, "format": "text", "api_key": "", "apiKey": None}},
        {"json": {"q": "a dog", "source": "auto", "target": "de"}},
        {
            "content": b'{"q": "a dog", "source": "en", "target": "de"}',
            "headers": {"content-type": "Application/JSON; charset=utf-8"},
        },
    ],
)
def test_every_form_of_a_request(client: httpx.Client, request_form: dict[str, Any]) -> None:
    answer = client.post("/translate", **request_form)
    assert answer.status_code == 200
    assert answer.json()["translatedText"] == "A DOG"


def test_texts_outside_ascii(client: httpx.Client) -> None:
    for form in ("json", "data", "params"):
        answer = client.post("/translate", **{form: {"q": "größe 🙂", **LANGUAGES}})  # type: ignore[arg-type]
        assert answer.json() == {"translatedText": "GRÖSSE 🙂"}


def test_a_list_is_answered_by_a_list(client: httpx.Client, shouting: Shouting) -> None:
    answer = client.post("/translate", json={"q": ["one", "", "two\nthree"], **LANGUAGES})
    assert answer.json() == {"translatedText": ["ONE", "", "TWO\nTHREE"]}
    assert shouting.calls == [["one", "two", "three"]]


def test_lines_are_translated_one_by_one_and_white_space_stays(
    client: httpx.Client, shouting: Shouting
) -> None:
    answer = client.post("/translate", json={"q": "  one \r\n\r\n\ttwo\n3\n", **LANGUAGES})
    assert answer.json() == {"translatedText": "  ONE \r\n\r\n\tTWO\n3\n"}
    assert shouting.calls == [["one", "two"]]


def test_text_without_letters_comes_back_unchanged(
    client: httpx.Client, shouting: Shouting
) -> None:
    answer = client.post("/translate", json={"q": " 12 + 3 ", **LANGUAGES, "scores": True})
    assert answer.json() == {"translatedText": " 12 + 3 ", "scores": None, "truncated": False}
    assert shouting.calls == []


# What can be asked for


def test_auto_tells_the_language(client: httpx.Client) -> None:
    known = {"confidence": 100, "language": "en"}
    answer = client.post("/translate", json={"q": "one", "source": "auto", "target": "de"})
    assert answer.json() == {"translatedText": "ONE", "detectedLanguage": known}
    answer = client.post("/translate", json={"q": ["one"], "source": "auto", "target": "de"})
    assert answer.json() == {"translatedText": ["ONE"], "detectedLanguage": [known]}


@pytest.mark.parametrize("yes", [True, "true", "1"])
def test_scores(client: httpx.Client, yes: object) -> None:
    answer = client.post("/translate", json={"q": "one\nthree", **LANGUAGES, "scores": yes})
    assert answer.json() == {"translatedText": "ONE\nTHREE", "scores": -4.0, "truncated": False}
    answer = client.post("/translate", json={"q": ["much too long"], **LANGUAGES, "scores": yes})
    assert answer.json()["scores"] == [-13.0]
    assert answer.json()["truncated"] == [True]


def test_alignments(client: httpx.Client) -> None:
    answer = client.post("/translate", json={"q": "one\ntwo", **LANGUAGES, "alignments": True})
    assert answer.json()["alignments"] == [
        {"source": ["one"], "target": ["▁", "ONE"], "weights": [[0.1235], [1.0]]},
        {"source": ["two"], "target": ["▁", "TWO"], "weights": [[0.1235], [1.0]]},
    ]


@pytest.mark.parametrize(("count", "expected"), [(0, None), ("1", ["ONE?"]), (2, ["ONE?"])])
def test_alternatives_without_duplicates(
    client: httpx.Client, count: object, expected: list[str] | None
) -> None:
    answer = client.post("/translate", json={"q": "one", **LANGUAGES, "alternatives": count})
    assert answer.json().get("alternatives") == expected
    answer = client.post("/translate", json={"q": ["one"], **LANGUAGES, "alternatives": count})
    assert answer.json().get("alternatives") == (None if expected is None else [expected])


def test_languages(client: httpx.Client) -> None:
    expected = [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": []},
    ]
    assert client.get("/languages").json() == expected
    # libretranslatepy sends a form body with GET
    assert client.request("GET", "/languages", data={"api_key": ""}).json() == expected


def test_health(client: httpx.Client) -> None:
    assert client.get("/health").json() == {"status": "ok"}


def test_any_page_may_use_it(client: httpx.Client) -> None:
    headers = {"origin": "http://example.org", "access-control-request-method": "POST"}
    answer = client.options(
        "/translate", headers={**headers, "access-control-request-headers": "content-type"}
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    failed = client.post("/translate", headers=headers)
    assert (failed.status_code, failed.headers["access-control-allow-origin"]) == (400, "*")


# What goes wrong

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({}, "Invalid request: missing q parameter"),
    ({"q": "", **LANGUAGES}, "Invalid request: missing q parameter"),
    ({"q": [], **LANGUAGES}, "Invalid request: missing q parameter"),
    ({"q": "a", "target": "de"}, "Invalid request: missing source parameter"),
    ({"q": "a", "source": "en"}, "Invalid request: missing target parameter"),
    ({"q": "a", "source": "zz", "target": "de"}, "zz is not supported"),
    ({"q": "a", "source": "en", "target": "zz"}, "zz is not supported"),
    ({"q": "a", "source": "de", "target": "en"}, "de is not supported"),
    ({"q": "a", "source": "en", "target": "auto"}, "auto is not supported"),
    ({"q": "a", "source": ["en"], "target": "de"}, "['en'] is not supported"),
    ({"q": "a", "source": "\ud800", "target": "de"}, "? is not supported"),
    ({"q": "a", **LANGUAGES, "format": "html"}, "html format is not supported"),
    ({"q": 3, **LANGUAGES}, "Invalid request: q must be a text or a list of texts"),
    ({"q": ["a", None], **LANGUAGES}, "Invalid request: q must be a text or a list of texts"),
    ({"q": {"a": "b"}, **LANGUAGES}, "Invalid request: q must be a text or a list of texts"),
    ({"q": "a\ud800", **LANGUAGES}, "Invalid request: q must be valid Unicode"),
    (
        {"q": "a\n" * 6, **LANGUAGES},
        "Invalid request: q must have at most 5 texts and lines, but has 6 instead",
    ),
    (
        {"q": [""] * 6, **LANGUAGES},
        "Invalid request: q must have at most 5 texts and lines, but has 6 instead",
    ),
    (
        {"q": ["b", f"a\n {'a' * 101}"], **LANGUAGES},
        "Invalid request: a line of q must have at most 100 characters, but has 101 instead",
    ),
    (
        {"q": "a", **LANGUAGES, "alternatives": "many"},
        "Invalid request: alternatives must be a number, 0 or more",
    ),
    (
        {"q": "a", **LANGUAGES, "alternatives": -1},
        "Invalid request: alternatives must be a number, 0 or more",
    ),
    (
        {"q": "a", **LANGUAGES, "alternatives": 3},
        "Invalid request: alternatives must be at most 2, but is 3 instead",
    ),
    ({"q": "a", **LANGUAGES, "scores": "maybe"}, "Invalid request: scores must be true or false"),
    ({"q": "a", **LANGUAGES, "alignments": 1}, "Invalid request: alignments must be true or false"),
]


@pytest.mark.parametrize(("values", "sentence"), MISTAKES)
def test_mistakes(client: httpx.Client, values: dict[str, Any], sentence: str) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/translate", content=json.dumps(values), headers=headers)
    assert (answer.status_code, answer.json()) == (400, {"error": sentence})


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"q"', b"\xff", b"[" * 9000])
def test_bodies_that_are_not_json_objects(client: httpx.Client, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/translate", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (400, {"error": "Invalid JSON format"})


def test_forms_that_are_not_utf8(client: httpx.Client) -> None:
    expected = (400, {"error": "Invalid request: the parameters must be UTF-8"})
    for url, body in (("/translate?q=%ff", b""), ("/translate", b"q=%ff"), ("/translate", b"\xff")):
        answer = client.post(url, content=body)
        assert (answer.status_code, answer.json()) == expected


def test_other_content_types(client: httpx.Client) -> None:
    answer = client.post("/translate", files={"q": b"one"})
    assert answer.status_code == 400
    assert "but is multipart/form-data instead" in answer.json()["error"]


def test_unknown_paths_and_verbs(client: httpx.Client) -> None:
    answer = client.get("/nothing")
    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})
    for verb, path in (("GET", "/translate"), ("POST", "/health"), ("DELETE", "/languages")):
        answer = client.request(verb, path)
        assert (answer.status_code, answer.json()) == (405, {"error": "Method Not Allowed"})
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_a_body_over_the_limit(client: httpx.Client) -> None:
    text = {"q": "a" * 10_000, **LANGUAGES}
    expected = (413, {"error": "Invalid request: the body must have at most 10000 bytes"})
    answer = client.post("/translate", json=text)
    assert (answer.status_code, answer.json()) == expected
    chunks = (b"a" * 999 for _ in range(20))  # of no announced length
    answer = client.post("/translate", content=chunks)
    assert (answer.status_code, answer.json()) == expected
    assert client.get("/health").status_code == 200


def test_a_failure_is_told_by_an_id_alone(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("the cause")

    client = start_server(Shouting(fail))
    answer = client.post("/translate", json={"q": "private words", **LANGUAGES})
    assert answer.status_code == 500
    identifier = answer.json()["error"].split()[-1]
    assert "cause" not in answer.text
    assert f"request {identifier} failed" in caplog.text
    assert "RuntimeError: the cause" in caplog.text
    assert caplog.text.count("Traceback") == 1
    assert "private words" not in caplog.text
    assert client.get("/health").status_code == 200


def test_an_input_error_is_the_client_s(start_server: StartServer) -> None:
    def refuse() -> None:
        raise InputError("The text is odd.")

    answer = start_server(Shouting(refuse)).post("/translate", json={"q": "one", **LANGUAGES})
    assert (answer.status_code, answer.json()) == (400, {"error": "The text is odd."})


def test_texts_are_not_logged(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client.post("/translate", json={"q": "secret", **LANGUAGES})
    client.post("/translate", json={"q": "secret"})
    caplog_of_ours = [
        record for record in caplog.records if record.name.partition(".")[0] != "httpx"
    ]
    assert not any("secret" in record.getMessage() for record in caplog_of_ours)


# While the model works


def test_health_answers_while_the_model_works(start_server: StartServer) -> None:
    working, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        working.set()
        assert go_on.wait(20)

    client = start_server(Shouting(wait))
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(client.post, "/translate", json={"q": "one", **LANGUAGES})
        assert working.wait(20)
        assert client.get("/health", timeout=5).json() == {"status": "ok"}
        assert not answer.done()
        go_on.set()
        assert answer.result().json() == {"translatedText": "ONE"}


def test_one_request_at_a_time_reaches_the_model(start_server: StartServer) -> None:
    inside, most = [0], [0]
    pause = threading.Event()

    def count() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        pause.wait(0.02)
        inside[0] -= 1

    client = start_server(Shouting(count))

    def post(number: int) -> str:
        answer = client.post("/translate", json={"q": f"text {number}", **LANGUAGES})
        return str(answer.json()["translatedText"])

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(post, range(16))) == [f"TEXT {number}" for number in range(16)]
    assert most == [1]
