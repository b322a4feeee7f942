//! Web servers.

use http::{Request, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use updraft_executor::Reply;
use updraft_types::{Body, ExitStatus, Fault, Payload, body};

use crate::{
    host::{Deployed, Host, Running, text},
    testing,
};

crate::tests! {
    requests_go_through_as_they_are
    many_requests_run_at_once
    bodies_stream_both_ways_and_an_abandoned_one_harms_nobody
    a_server_that_ends_is_reported
}

const SERVER: &str = r#"
import http.server, os, sys, threading, time
gate = threading.Barrier(20)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        if self.path == "/exit":
            os._exit(9)
        if self.path == "/gate":
            gate.wait()
        if self.path == "/half":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
            return
        if self.path == "/endless":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"4\r\nmore\r\n")
            except OSError:
                return
        if self.path == "/empty":
            self.send_response(204)
            self.end_headers()
            return
        self.answer(200, "%s %s %s" % (self.command, self.path, sorted((k.lower(), v) for k, v in self.headers.items() if k.lower() in ("x-a", "connection", "upgrade", "host"))))
    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while True:
                size = int(self.rfile.readline(), 16)
                body += self.rfile.read(size)
                self.rfile.readline()
                if size == 0:
                    break
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, "%s %s %s" % (self.path, self.headers.get("Content-Type"), body.decode()))
    def answer(self, status, text):
        print("answering", self.path, flush=True)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Keep-Alive", "timeout=5")
        self.send_header("X-Server", "mine")
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *arguments):
        pass
time.sleep(0.05)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
server.request_queue_size = 64
server.serve_forever()
"#;

fn server(host: &Host) -> Deployed {
    host.deploy("web", "python3 server.py", &[("server.py", SERVER)])
}

async fn get(running: &Running, path: &str) -> Result<http::Response<Body>, Fault> {
    let request = Request::builder()
        .uri(format!("http://example.com{path}"))
        .header("x-a", "1")
        .header("connection", "upgrade")
        .header("upgrade", "h2c")
        .body(body::empty())
        .unwrap();
    match running.instance.clone().call(testing::call(Payload::Http(Box::new(request)))).await? {
        Reply::Http(response) => Ok(response),
        Reply::Event { .. } => panic!("a web function answers in HTTP"),
    }
}

async fn requests_go_through_as_they_are(host: Host) {
    let running = server(&host).start().await;
    for count in 1..=20 {
        let response = get(&running, "/a%20b?c=d").await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-server"], "mine");
        assert!(!response.headers().contains_key("keep-alive"));
        let expected = "GET /a%20b?c=d [('host', 'example.com'), ('x-a', '1')]";
        assert_eq!(text(response.into_body()).await.unwrap(), expected);
        assert_eq!(running.output.text().matches("answering").count(), count);
    }
    assert_eq!(running.answer("{\"b\": 1}").await, "/ application/json {\"b\": 1}");
    assert_eq!(get(&running, "/empty").await.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(running.answer("1").await, "/ application/json 1");
}

async fn many_requests_run_at_once(host: Host) {
    let running = server(&host).start().await;
    let requests = (0..20).map(|_| async { text(get(&running, "/gate").await.unwrap().into_body()).await });
    let answers = futures_util::future::join_all(requests).await;
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap().starts_with("GET /gate")), "{answers:?}");
}

async fn bodies_stream_both_ways_and_an_abandoned_one_harms_nobody(host: Host) {
    let running = server(&host).start().await;
    let pieces = futures_util::stream::iter(
        (0..5)
            .map(|number| Ok::<_, updraft_types::BoxError>(http_body::Frame::data(format!("piece {number};").into()))),
    );
    let request = Request::post("/up").body(StreamBody::new(pieces).boxed_unsync()).unwrap();
    let reply = running.instance.clone().call(testing::call(Payload::Http(Box::new(request)))).await.unwrap();
    let Reply::Http(response) = reply else { panic!("not HTTP") };
    let expected = "/up None piece 0;piece 1;piece 2;piece 3;piece 4;";
    assert_eq!(text(response.into_body()).await.unwrap(), expected);

    let mut endless = get(&running, "/endless").await.unwrap().into_body();
    assert!(endless.frame().await.unwrap().unwrap().data_ref().unwrap().starts_with(b"more"));
    drop(endless);
    assert!(matches!(text(get(&running, "/half").await.unwrap().into_body()).await, Err(Fault::Crash { .. })));
    assert!(running.instance.is_alive());
    assert_eq!(get(&running, "/after").await.unwrap().status(), StatusCode::OK);
}

async fn a_server_that_ends_is_reported(host: Host) {
    let running = server(&host).start().await;
    assert_eq!(get(&running, "/exit").await.err(), Some(Fault::Exit(ExitStatus::Code(9))));
    assert!(!running.instance.is_alive());
    assert_eq!(get(&running, "/again").await.err(), Some(Fault::Exit(ExitStatus::Code(9))));
    let missing = host.deploy("web", "no-such-program", &[("x", "")]).start_fault().await;
    assert_eq!(missing, Fault::Exit(ExitStatus::Code(127)));
    let compound = host.deploy("web", "cd /tmp && exit 6", &[("x", "")]).start_fault().await;
    assert_eq!(compound, Fault::Exit(ExitStatus::Code(6)));
}
