//! Counts the words of a text: how many there are, how many different ones, and which are the most frequent.
//!
//! Takes `{"text": …, "top": 10}` as an event, or the text as the body of a request to the function's URL.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let event = event.payload;
    if event.get("requestContext").is_none() {
        let text = event["text"].as_str().ok_or("the event must have a text")?;
        return Ok(count(text, event["top"].as_u64().map_or(10, |top| top as usize)));
    }
    let body = event["body"].as_str().unwrap_or_default();
    let text = match event["isBase64Encoded"].as_bool() {
        Some(true) => String::from_utf8_lossy(&STANDARD.decode(body)?).into_owned(),
        _ => body.to_owned(),
    };
    let top = event["queryStringParameters"]["top"].as_str().map_or(Ok(10), str::parse)?;
    Ok(count(&text, top))
}

/// Words are runs of letters, digits and apostrophes, compared in lower case. Equally frequent ones come in order.
fn count(text: &str, top: usize) -> Value {
    let mut counts = HashMap::<String, u64>::new();
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty()) {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let total: u64 = counts.values().sum();
    let different = counts.len();
    let mut ranked: Vec<_> = counts.into_iter().collect();
    ranked.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
    ranked.truncate(top);
    let top: Vec<_> = ranked.into_iter().map(|(word, count)| json!({ "word": word, "count": count })).collect();
    json!({ "words": total, "different": different, "top": top })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_regardless_of_case_and_ranks_by_frequency_then_order() {
        assert_eq!(
            count("The cat, the dog; the END. Don't!", 3),
            json!({ "words": 7, "different": 5, "top": [
                { "word": "the", "count": 3 }, { "word": "cat", "count": 1 }, { "word": "dog", "count": 1 },
            ] })
        );
        assert_eq!(count(" \n", 10), json!({ "words": 0, "different": 0, "top": [] }));
    }
}
