//! A server of an example on loopback, and a browser that knows cookies and nothing else.

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves until the runtime ends.
pub(crate) async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// One browser: keeps the cookie that it was given.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) addr: std::net::SocketAddr,
    /// `name=value`.
    pub(crate) cookie: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) body: String,
    head: String,
}

impl Page {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(other, _)| *other == name).map(|(_, value)| value).next()
    }
}

impl Browser {
    pub(crate) fn new(addr: std::net::SocketAddr) -> Self {
        Self { addr, cookie: None }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.request("GET", path).await
    }

    pub(crate) async fn post(&mut self, path: &str) -> Page {
        self.request("POST", path).await
    }

    async fn request(&mut self, method: &str, path: &str) -> Page {
        let mut stream = TcpStream::connect(self.addr).await.expect("connects");
        let cookie =
            self.cookie.as_ref().map_or_else(String::new, |it| format!("Cookie: {it}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\n{cookie}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("an answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head[9..12].parse().expect("a status");
        let page = Page { status, body: body.to_owned(), head: head.to_owned() };
        if let Some(set) = page.header("set-cookie") {
            let pair = set.split(';').next().unwrap_or_default();
            let is_cleared = set.contains("Max-Age=0");
            self.cookie = (!is_cleared).then(|| pair.to_owned());
        }
        page
    }
}
