"""The guard's way to ask the API server: one connection, always with TLS, and errors by what to do next."""

from datetime import UTC, datetime, timedelta

import pytest
from keeper.api import Api, ApiError, Conflict, MissingRight, NotFound, Rejected, Unreachable

from tests.component.cluster.apiserver import ApiServer, certificate, reply, reset, status

from .cluster import AUTHORITY, SERVER

PATH = "/api/v1/namespaces/shop/services/tasks"


@pytest.fixture
def server():
    with ApiServer(SERVER, AUTHORITY, asks=False) as running:
        yield running


@pytest.fixture
def api(server, tmp_path):
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "ca.crt").write_bytes(AUTHORITY.pem)
    asking = Api("127.0.0.1", server.port, str(tmp_path))
    yield asking
    asking.close()


def test_requests_share_a_connection_until_it_is_closed(server, api):
    connections = []

    def note(answer):
        return lambda handler: (connections.append(handler.client_address), answer(handler))

    server.answers = [note(reply({"a": 1})), note(reply({"a": 2}, Connection="close")), note(reply({"a": 3}))]
    assert [api.get(PATH)["a"] for _ in range(4)] == [1, 2, 3, 3]
    one, two, three, four = connections
    assert one == two != three == four


@pytest.mark.parametrize(
    ("code", "kind"),
    [(400, Rejected), (401, MissingRight), (403, MissingRight), (404, NotFound), (409, Conflict), (422, Rejected),
     (429, ApiError), (500, ApiError), (503, ApiError)],
)  # fmt: skip
def test_errors_are_told_apart_and_have_the_servers_words(server, api, code, kind):
    server.answers = [status(code, "Reason", "what the server says")]
    with pytest.raises(ApiError, match=rf"what the server says \({code}\)") as caught:
        api.get(PATH)
    assert type(caught.value) is kind


def test_an_answer_that_is_not_the_api_servers_is_an_error_too(server, api):
    server.answers = [reply(b"<html>a proxy</html>", 502, kind="text/html")]
    with pytest.raises(ApiError, match=r"no reason given \(502\)"):
        api.get(PATH)


def test_a_token_that_was_renewed_is_read_again(server, api, tmp_path):
    server.answers = [reply({}), status(401, "Unauthorized", "expired"), reply({"a": 1})]
    api.get(PATH)
    (tmp_path / "token").write_text("second\n")
    assert api.get(PATH) == {"a": 1}
    assert [seen.headers["Authorization"] for seen in server.seen] == ["Bearer first", "Bearer first", "Bearer second"]


def test_a_kept_connection_that_broke_is_replaced_and_a_new_one_that_breaks_is_an_error(server, api):
    server.answers = [reply({}), reset, reply({"a": 1}), reset]
    api.get(PATH)
    assert api.get(PATH) == {"a": 1}
    with pytest.raises(Unreachable):
        api.get(PATH)


def test_a_server_that_says_nothing_is_not_waited_for_long(server, api):
    server.answers = [lambda handler: handler.api.released.wait(30)]
    api.patience = 0.1
    with pytest.raises(Unreachable, match="timed out"):
        api.get(PATH)


def test_a_server_of_another_authority_never_hears_the_token(server, tmp_path, api):
    server.answers = [reply({})]
    (tmp_path / "ca.crt").write_bytes(certificate("another cluster").pem)
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        api.get(PATH)
    assert not server.seen


def test_the_time_is_the_servers(server, api):
    server.answers = [reply({})]
    api.get(PATH)
    assert abs(datetime.now(UTC) - api.now) < timedelta(seconds=5)


def test_a_dry_run_of_a_delete_has_no_options_that_would_make_it_a_real_one(server, api):
    server.answers = [reply({})]
    api.delete(PATH, dry_run=True)
    api.delete(PATH, {"propagationPolicy": "Background"})
    dry, real = server.seen
    assert (dry.path, dry.body) == (f"{PATH}?dryRun=All", None)
    assert (real.path, real.body["propagationPolicy"]) == (PATH, "Background")
