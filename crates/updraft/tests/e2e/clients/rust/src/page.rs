//! A function made with lambda_http: behind a function URL it answers with what it was asked.

use lambda_http::{
    Body, Error, Request, RequestExt, RequestPayloadExt, Response,
    http::{StatusCode, header},
    run, service_fn,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(answer)).await
}

async fn answer(request: Request) -> Result<Response<Body>, Error> {
    let query = request.query_string_parameters();
    match request.raw_http_path() {
        "/hello" => {
            let name = query.first("name").unwrap_or("nobody").to_owned();
            let text = format!("{} {name}", request.method());
            Ok(Response::builder()
                .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
                .header(header::SET_COOKIE, "one=1")
                .header(header::SET_COOKIE, "two=2")
                .body(text.into())?)
        }
        // Bytes that are no text travel in base64 both ways.
        "/reversed" => {
            let mut bytes = request.body().to_vec();
            bytes.reverse();
            let kind = (header::CONTENT_TYPE, "application/octet-stream");
            Ok(Response::builder().header(kind.0, kind.1).body(Body::Binary(bytes))?)
        }
        "/json" => match request.payload::<Vec<i64>>() {
            Ok(numbers) => {
                let sum: i64 = numbers.unwrap_or_default().iter().sum();
                Ok(Response::new(sum.to_string().into()))
            }
            Err(error) => Ok(status(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())),
        },
        "/fail" => Err("asked to fail".into()),
        path => Ok(status(StatusCode::NOT_FOUND, path)),
    }
}

fn status(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response
}
