"""The endpoints, through HTTP."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from nmt.decoding import Translator
from tests.batching.fakes import Shouting
from tests.serve.conftest import DECODE, posted

StartServer = Callable[..., httpx.Client]
LANGUAGES = {"source": "en", "target": "de"}


@pytest.fixture
def shouting() -> Shouting:
    return Shouting()


@pytest.fixture
def client(start_server: StartServer, shouting: Shouting) -> httpx.Client:
    return start_server(shouting)


@pytest.mark.parametrize("folder", ["tiny_gru_folder", "tiny_own_cell_folder"])
def test_a_model_of_other_cells(
    start_server: StartServer, folder: str, request: pytest.FixtureRequest
) -> None:
    translator = Translator.load(
        request.getfixturevalue(folder), device="cpu", threads=1, decode=DECODE
    )
    text = "A man is sleeping on the sofa."
    answer = posted(start_server(translator), text).json()["translatedText"]
    assert answer == translator.translate([text])[0].text != ""


def test_a_real_model(start_server: StartServer, translator: Translator) -> None:
    client = start_server(translator)
    texts = ["A man is sleeping.", "Two dogs\nThe woman"]
    answer = client.post(
        "/translate",
        json={"q": texts, **LANGUAGES, "alternatives": 2, "alignments": True, "scores": True},
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
    assert 0 < answer.json()["confidence"][0] < 1


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
    assert sorted(shouting.batches[0]) == ["one", "three", "two"]


def test_lines_are_translated_one_by_one_and_white_space_stays(
    client: httpx.Client, shouting: Shouting
) -> None:
    answer = client.post("/translate", json={"q": "  one \r\n\r\n\ttwo\n3\n", **LANGUAGES})
    assert answer.json() == {"translatedText": "  ONE \r\n\r\n\tTWO\n3\n"}
    assert shouting.batches[0] == ["one", "two"]


def test_text_without_letters_comes_back_unchanged(
    client: httpx.Client, shouting: Shouting
) -> None:
    answer = client.post("/translate", json={"q": " 12 + 3 ", **LANGUAGES, "scores": True})
    expected = {"scores": None, "confidence": None, "truncated": False}
    assert answer.json() == {"translatedText": " 12 + 3 ", **expected}
    assert shouting.batches == []


# What can be asked for


def test_auto_tells_the_language(client: httpx.Client) -> None:
    text = "This is an English sentence about dogs."
    answer = client.post("/translate", json={"q": text, "source": "auto", "target": "de"}).json()
    assert answer["translatedText"] == text.upper()
    assert answer["detectedLanguage"]["language"] == "en"
    assert 50 < answer["detectedLanguage"]["confidence"] <= 100
    german = "Das ist ein deutscher Satz über Hunde."
    asked = {"q": [text, german], "source": "auto", "target": "de"}
    answer = client.post("/translate", json=asked).json()
    assert answer["translatedText"] == [text.upper(), german], "German stays as it is"
    assert [one["language"] for one in answer["detectedLanguage"]] == ["en", "de"]
    found = client.post("/detect", data={"q": german}).json()
    assert [one["language"] for one in found] == ["de", "en"]
    assert client.post("/detect").json() == {"error": "Invalid request: missing q parameter"}


@pytest.mark.parametrize("yes", [True, "true", "1"])
def test_scores(client: httpx.Client, yes: object) -> None:
    answer = client.post("/translate", json={"q": "one\nthree", **LANGUAGES, "scores": yes})
    assert answer.json()["translatedText"] == "ONE\nTHREE"
    assert (answer.json()["scores"], answer.json()["truncated"]) == (-4.0, False)
    assert answer.json()["confidence"] == pytest.approx(2.718281828 ** (-8 / 4))
    long = "much too long for this model, it seems"
    answer = client.post("/translate", json={"q": [long], **LANGUAGES, "scores": yes})
    assert answer.json()["scores"] == [-float(len(long))]
    assert answer.json()["truncated"] == [True]


def test_html(client: httpx.Client) -> None:
    text = "<p>One <b>big</b> dog &amp; {name}</p><script>x < y</script>"
    answer = client.post("/translate", json={"q": text, **LANGUAGES, "format": "html"})
    expected = "<p>ONE <b>BIG</b> DOG &amp; {name}</p><script>x < y</script>"
    assert answer.json() == {"translatedText": expected}


def test_alignments(client: httpx.Client) -> None:
    answer = client.post("/translate", json={"q": "one\ntwo", **LANGUAGES, "alignments": True})
    assert answer.json()["alignments"] == [
        {"source": ["▁one"], "target": ["▁ONE"], "weights": [[1.0]]},
        {"source": ["▁two"], "target": ["▁TWO"], "weights": [[1.0]]},
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
    ({"q": "a", **LANGUAGES, "format": "rtf"}, "rtf format is not supported"),
    ({"q": 3, **LANGUAGES}, "Invalid request: q must be a text or a list of texts"),
    ({"q": ["a", None], **LANGUAGES}, "Invalid request: q must be a text or a list of texts"),
    ({"q": {"a": "b"}, **LANGUAGES}, "Invalid request: q must be a text or a list of texts"),
    ({"q": "a\ud800", **LANGUAGES}, "Invalid request: q must be valid Unicode"),
    (
        {"q": "a\n" * 6, **LANGUAGES},
        "Invalid request: the texts must have at most 5 sentences, but have 6 instead",
    ),
    (
        {"q": [""] * 6, **LANGUAGES},
        "Invalid request: there must be at most 5 texts, but there are 6",
    ),
    (
        {"q": ["b", "a" * 1000], **LANGUAGES},
        "Invalid request: request (1001) exceeds text limit (1000)",
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
    (
        {"q": "a", **LANGUAGES, "beam_size": 5},
        "Invalid request: beam_size must be at most 4, but is 5 instead",
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
    expected = (400, {"error": "Invalid request: the parameters must be UTF-8, and at most 5000"})
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
    given = {"x-request-id": "mine-1"}
    answer = client.post("/translate", json={"q": "private words", **LANGUAGES}, headers=given)
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == answer.json()["error"].split()[-1] == "mine-1"
    assert "cause" not in answer.text
    assert "request mine-1 failed" in caplog.text
    assert "RuntimeError: the cause" in caplog.text
    assert "private words" not in caplog.text
    assert client.get("/health").status_code == 200
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200


def test_a_request_that_never_arrives(start_server: StartServer) -> None:
    client = start_server(Shouting(), deadline_seconds=0.2)

    def slowly() -> Iterator[bytes]:
        yield b'{"q":'
        time.sleep(0.5)

    answer = client.post("/translate", content=slowly())
    assert (answer.status_code, answer.json()) == (
        408,
        {"error": "The request did not arrive in time"},
    )


def test_texts_are_not_logged(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client.post("/translate", json={"q": "secret", **LANGUAGES})
    client.post("/translate", json={"q": "secret"})
    caplog_of_ours = [
        record for record in caplog.records if record.name.partition(".")[0] != "httpx"
    ]
    assert not any("secret" in record.getMessage() for record in caplog_of_ours)


# While the model works


class Blocked:
    """A model that waits before each step until it may go on."""

    def __init__(self) -> None:
        self.working, self.go_on = threading.Event(), threading.Event()
        self.model = Shouting(self)

    def __call__(self) -> None:
        self.working.set()
        assert self.go_on.wait(20)


@pytest.fixture
def blocked() -> Blocked:
    return Blocked()


def test_health_answers_while_the_model_works(start_server: StartServer, blocked: Blocked) -> None:
    client = start_server(blocked.model)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(client.post, "/translate", json={"q": "one", **LANGUAGES})
        assert blocked.working.wait(20)
        for path in ("/health", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
            assert client.get(path, timeout=5).json() == {"status": "ok"}
        metrics = client.get("/metrics").text
        assert "nmt_http_requests_in_flight 2.0" in metrics
        assert client.get("/status").json()["running_sentences"] == 1
        assert not answer.done()
        blocked.go_on.set()
        assert answer.result().json() == {"translatedText": "ONE"}


def test_requests_are_translated_together(start_server: StartServer, blocked: Blocked) -> None:
    client = start_server(blocked.model)

    def post(number: int) -> str:
        answer = client.post("/translate", json={"q": f"text {number}", **LANGUAGES})
        return str(answer.json()["translatedText"])

    with ThreadPoolExecutor(8) as threads:
        answers = threads.map(post, range(8))
        assert blocked.working.wait(20)
        wait_for(lambda: sum(on_their_way(client)) == 8)
        blocked.go_on.set()
        assert list(answers) == [f"TEXT {number}" for number in range(8)]
    assert max(map(len, blocked.model.batches)) == 8


def on_their_way(client: httpx.Client) -> tuple[int, int]:
    now = client.get("/status").json()
    return now["waiting_sentences"], now["running_sentences"]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_full_queue_refuses_at_once(start_server: StartServer, blocked: Blocked) -> None:
    client = start_server(blocked.model, waiting_sentences=2)
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(client.post, "/translate", json={"q": "one", **LANGUAGES})
        assert blocked.working.wait(20)
        two = {"q": ["two", "three"], **LANGUAGES}
        waiting = threads.submit(client.post, "/translate", json=two)
        wait_for(lambda: client.get("/status").json()["waiting_sentences"] == 2)
        refused = client.post("/translate", json={"q": "four", **LANGUAGES})
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "are waiting; try again later" in refused.json()["error"]
        assert 'nmt_requests_rejected_total{reason="queue"} 1.0' in client.get("/metrics").text
        blocked.go_on.set()
        assert running.result().status_code == waiting.result().status_code == 200


def test_a_deadline(start_server: StartServer, blocked: Blocked) -> None:
    client = start_server(blocked.model, deadline_seconds=0.1)
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(client.post, "/translate", json={"q": "one", **LANGUAGES})
        assert blocked.working.wait(20)
        time.sleep(0.2)
        blocked.go_on.set()
        assert (answer.result().status_code, answer.result().json()) == (
            504,
            {"error": "The translation took too long"},
        )


def test_work_of_clients_that_went_away_is_dropped(
    start_server: StartServer, blocked: Blocked
) -> None:
    client = start_server(blocked.model)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(client.post, "/translate", json={"q": "one", **LANGUAGES})
        assert blocked.working.wait(20)
        with pytest.raises(httpx.ReadTimeout):
            client.post("/translate", json={"q": "gone away", **LANGUAGES}, timeout=0.3)
        metric = 'nmt_http_requests_total{endpoint="/translate",method="POST",status="499"} 1.0'
        wait_for(lambda: metric in client.get("/metrics").text)
        blocked.go_on.set()
        assert running.result().json() == {"translatedText": "ONE"}
    assert not any("gone away" in step for step in blocked.model.batches)


def test_one_client_s_rate(start_server: StartServer) -> None:
    client = start_server(Shouting(), requests_per_minute=2, characters_per_minute=1000)
    request = {"q": "one", **LANGUAGES}
    assert [client.post("/translate", json=request).status_code for _ in range(3)] == [
        200,
        200,
        429,
    ]
    refused = client.post("/translate", json=request)
    assert refused.json() == {"error": "Slowdown: too many requests, try again later"}
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert client.get("/health").status_code == 200


def test_while_models_are_loading(start_server: StartServer) -> None:
    client = start_server()
    assert client.get("/readyz").json() == {"status": "loading"}
    for answer in (
        client.post("/translate", json={"q": "one", **LANGUAGES}),
        client.get("/languages"),
    ):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert client.get("/livez").status_code == 200


@pytest.mark.parametrize("keys", [False, True])
def test_while_it_is_ending(start_server: StartServer, tmp_path: Any, keys: bool) -> None:
    (tmp_path / "keys").write_text("anna key-of-anna\n", encoding="utf-8")
    client = start_server(Shouting(), **({"keys": str(tmp_path / "keys")} if keys else {}))
    request = {"q": "one", "api_key": "key-of-anna", **LANGUAGES}
    assert client.post("/translate", json=request).status_code == 200
    client.app.state.service.draining = True  # type: ignore[attr-defined]
    answer = client.post("/translate", json=request)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json() == {"error": "The server is shutting down; try another"}
    assert client.get("/readyz").json() == {"status": "draining"}
    assert client.get("/livez").status_code == 200


def test_several_models(start_server: StartServer) -> None:
    client = start_server(Shouting(), Shouting(source="de", target="en"))
    expected = [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": ["en"]},
    ]
    assert client.get("/languages").json() == expected
    texts = ["This is an English sentence.", "Das ist ein deutscher Satz."]
    asked = {"q": texts, "source": "auto", "target": "en"}
    answer = client.post("/translate", json=asked).json()
    assert answer["translatedText"] == [texts[0], texts[1].upper()]
    same = {"q": "one", "source": "en", "target": "en"}
    assert client.post("/translate", json=same).json() == {"translatedText": "one"}


# Keys


def test_keys(start_server: StartServer, tmp_path: Any) -> None:
    file = tmp_path / "keys"
    file.write_text("# clients\nanna key-of-anna\nbert key-of-bert  # two\n", encoding="utf-8")
    client = start_server(Shouting(), keys=str(file))
    request = {"q": "one", **LANGUAGES}
    missing = client.post("/translate", json=request)
    assert (missing.status_code, missing.json()) == (
        400,
        {"error": "Please contact the server operator to get an API key"},
    )
    wrong = client.post("/translate", json={**request, "api_key": "key-of-otto"})
    assert (wrong.status_code, wrong.json()) == (403, {"error": "Invalid API key"})
    for given in (
        {"json": {**request, "api_key": "key-of-anna"}},
        {"params": {**request, "api_key": "key-of-anna"}},
        {"json": request, "headers": {"authorization": "Bearer key-of-anna"}},
        {"json": request, "headers": {"authorization": "DeepL-Auth-Key key-of-anna"}},
    ):
        assert client.post("/translate", **given).status_code == 200  # type: ignore[arg-type]
    assert client.get("/frontend/settings").json()["keyRequired"] is True
    assert client.get("/health").status_code == client.get("/metrics").status_code == 200
    headers = {"authorization": "DeepL-Auth-Key key-of-anna"}
    usage = client.get("/v2/usage", headers=headers).json()
    assert usage["character_count"] == 4 * len("one")
    assert "key-of-anna" not in client.get("/metrics").text


# Operation


def test_metrics(client: httpx.Client) -> None:
    client.post("/translate", json={"q": "one two", **LANGUAGES})
    client.get("/no/such/path?q=secret")
    text = client.get("/metrics").text
    for line in (
        'nmt_http_requests_total{endpoint="/translate",method="POST",status="200"} 1.0',
        'nmt_http_requests_total{endpoint="other",method="GET",status="404"} 1.0',
        "nmt_queue_sentences 0.0",
        "nmt_queue_tokens 0.0",
        "nmt_queue_wait_seconds_count 1.0",
        "nmt_batch_sentences_count 7.0",
        "nmt_batch_padding_ratio_count 7.0",
        "nmt_inference_duration_seconds_count 7.0",
        "nmt_source_tokens_total 7.0",
        "nmt_target_tokens_total 2.0",
        "nmt_truncated_total 0.0",
        'nmt_http_request_duration_seconds_count{endpoint="/translate"} 1.0',
        'nmt_model_info{model="model0",precision="fp32",source="en",target="de"} 1.0',
    ):
        assert line in text, line
    assert "secret" not in text
    assert "127.0.0.1" not in text


def test_headers(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    for part in ("app.js", "style.css", "icon.svg"):
        assert client.get(f"/static/{part}").status_code == 200
    assert client.get("/static/../app.py").status_code == 404


def test_no_page(start_server: StartServer, shouting: Shouting) -> None:
    assert start_server(shouting, page=False).get("/").status_code == 404


def test_the_document_names_every_endpoint(client: httpx.Client) -> None:
    document = client.get("/spec").json()
    for path, verbs in document["paths"].items():
        for verb in verbs:
            assert client.request(verb, path).status_code != 404, path
    assert {"/translate", "/v2/translate", "/detect"} <= document["paths"].keys()


def test_requests_are_cancelled_without_a_trace(
    start_server: StartServer, blocked: Blocked, caplog: pytest.LogCaptureFixture
) -> None:
    """Many that come and go leave nothing behind."""
    client = start_server(blocked.model)
    address = str(client.base_url)

    async def come_and_go() -> None:
        async with httpx.AsyncClient(base_url=address, timeout=0.2) as many:
            asks = [many.post("/translate", json={"q": "one", **LANGUAGES}) for _ in range(10)]
            found = await asyncio.gather(*asks, return_exceptions=True)
            assert all(isinstance(one, httpx.TimeoutException) for one in found)

    asyncio.run(come_and_go())
    blocked.go_on.set()
    wait_for(lambda: "nmt_http_requests_in_flight 1.0" in client.get("/metrics").text)
    wait_for(lambda: on_their_way(client) == (0, 0))
    assert client.get("/status").json()["waiting_tokens"] == 0
    assert "Traceback" not in caplog.text
