//! SSM's Parameter Store and Secrets Manager over real connections.

#![allow(clippy::unwrap_used, reason = "a test helper fails its test by panicking")]

use serde_json::{Value, json};
use updraft_node::{parameters, secrets};
use updraft_types::{AccountId, Timestamp};

use crate::platform::{Answer, Platform};

async fn call(platform: &Platform, service: &str, operation: &str, input: Value) -> Answer {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential=test/20261123/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=x"
    );
    let prefix = if service == "ssm" { "AmazonSSM" } else { service };
    let target = format!("{prefix}.{operation}");
    platform.send("POST", "/", &[("authorization", &scope), ("x-amz-target", &target)], &input.to_string()).await
}

async fn ok(platform: &Platform, service: &str, operation: &str, input: Value) -> Value {
    let answer = call(platform, service, operation, input).await;
    assert_eq!(answer.status, 200, "{operation}: {:?}", answer.body);
    if answer.body.is_empty() { Value::Null } else { answer.json() }
}

async fn code(platform: &Platform, service: &str, operation: &str, input: Value) -> String {
    let answer = call(platform, service, operation, input).await;
    assert!(answer.status >= 400, "{operation}: {:?}", answer.body);
    answer.json()["__type"].as_str().unwrap().to_owned()
}

fn theirs() -> AccountId {
    "111111111111".parse().unwrap()
}

#[tokio::test]
async fn parameters_are_put_found_and_deleted() {
    let platform = Platform::start().await;
    let ssm = async |operation: &str, input: Value| ok(&platform, "ssm", operation, input).await;
    let refused = async |operation: &str, input: Value| code(&platform, "ssm", operation, input).await;
    let put = |name: &str, kind: &str| json!({ "Name": name, "Value": name, "Type": kind });
    for (name, kind) in [("/a/b", "String"), ("/a/c/d", "SecureString"), ("/ab", "String"), ("flat", "StringList")] {
        assert_eq!(ssm("PutParameter", put(name, kind)).await, json!({ "Version": 1, "Tier": "Standard" }));
    }
    assert_eq!(refused("PutParameter", put("/a/b", "String")).await, "ParameterAlreadyExists");
    let again = json!({ "Name": "/a/b", "Value": "new", "Overwrite": true });
    assert_eq!(ssm("PutParameter", again).await["Version"], 2);
    for input in [
        json!({ "Name": "x", "Value": "y" }),
        json!({ "Name": "a/b", "Value": "y", "Type": "String" }),
        json!({ "Name": "a b", "Value": "y", "Type": "String" }),
        json!({ "Name": "x", "Value": "", "Type": "String" }),
        json!({ "Name": "x", "Value": "y".repeat(4097), "Type": "String" }),
        json!({ "Name": "x", "Value": "y", "Type": "Other" }),
        json!({ "Value": "y", "Type": "String" }),
    ] {
        assert_eq!(refused("PutParameter", input.clone()).await, "ValidationException", "{input}");
    }
    let get = async |name: &str| {
        ssm("GetParameter", json!({ "Name": name, "WithDecryption": true })).await["Parameter"].clone()
    };
    let found = get("/a/b").await;
    assert_eq!((&found["Value"], &found["Version"], &found["Type"]), (&json!("new"), &json!(2), &json!("String")));
    assert_eq!(found["ARN"], "arn:aws:ssm:us-east-1:000000000000:parameter/a/b");
    assert_eq!((&get("/a/b:1").await["Value"], &get("/a/b:1").await["Selector"]), (&json!("/a/b"), &json!(":1")));
    for arn in ["a/c/d", "flat"] {
        let value = get(&format!("arn:aws:ssm:us-east-1:000000000000:parameter/{arn}")).await["Value"].clone();
        assert!(value.as_str().unwrap().ends_with(arn));
    }
    let arn = get("/ab").await["ARN"].clone();
    for other in [arn.as_str().unwrap(), "ab", "ab:1"] {
        assert_eq!((&get(other).await["Name"], &get(other).await["ARN"]), (&json!("/ab"), &arn), "{other}");
    }
    assert_eq!(refused("PutParameter", put("ab", "String")).await, "ParameterAlreadyExists");
    let sealed = ssm("GetParameter", json!({ "Name": "/a/c/d" })).await;
    assert_ne!(sealed["Parameter"]["Value"], "/a/c/d");
    assert_eq!(refused("GetParameter", json!({ "Name": "/a/b:9" })).await, "ParameterVersionNotFound");
    assert_eq!(refused("GetParameter", json!({ "Name": "/none" })).await, "ParameterNotFound");
    let several = ssm("GetParameters", json!({ "Names": ["/ab", "/none"] })).await;
    assert_eq!(
        (several["Parameters"].as_array().unwrap().len(), &several["InvalidParameters"]),
        (1, &json!(["/none"]))
    );

    let names = |output: &Value| -> Vec<String> {
        let list = output["Parameters"].as_array().unwrap();
        list.iter().map(|one| one["Name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&ssm("GetParametersByPath", json!({ "Path": "/a" })).await), ["/a/b"]);
    let first = ssm("GetParametersByPath", json!({ "Path": "/a/", "Recursive": true, "MaxResults": 1 })).await;
    assert_eq!(names(&first), ["/a/b"]);
    let token = &first["NextToken"];
    let rest = ssm("GetParametersByPath", json!({ "Path": "/a", "Recursive": true, "NextToken": token })).await;
    assert_eq!((names(&rest), rest.get("NextToken")), (vec!["/a/c/d".to_owned()], None));
    let filter = json!({ "ParameterFilters": [{ "Key": "Name", "Option": "BeginsWith", "Values": ["/a/"] },
        { "Key": "Type", "Values": ["SecureString"] }] });
    assert_eq!(names(&ssm("DescribeParameters", filter).await), ["/a/c/d"]);
    let history = ssm("GetParameterHistory", json!({ "Name": "/a/b", "MaxResults": 1 })).await;
    assert_eq!((&history["Parameters"][0]["Value"], &history["NextToken"]), (&json!("/a/b"), &json!("1")));
    let deleted = ssm("DeleteParameters", json!({ "Names": ["/ab", "/none"] })).await;
    assert_eq!(deleted, json!({ "DeletedParameters": ["/ab"], "InvalidParameters": ["/none"] }));
    ssm("DeleteParameter", json!({ "Name": "flat" })).await;
    assert_eq!(refused("DeleteParameter", json!({ "Name": "flat" })).await, "ParameterNotFound");
    assert_eq!(
        refused(
            "PutParameter",
            json!({ "Name": "x", "Value": "y", "Type": "String", "Tags": [{ "Key": "a", "Value": "b" }] })
        )
        .await,
        "NotImplementedException"
    );
    platform.stop().await;
}

#[tokio::test]
async fn secrets_are_made_turned_over_and_deleted() {
    let platform = Platform::start().await;
    let manager = async |operation: &str, input: Value| ok(&platform, "secretsmanager", operation, input).await;
    let refused = async |operation: &str, input: Value| code(&platform, "secretsmanager", operation, input).await;
    let token = "0123456789abcdef0123456789abcdef";
    let create = json!({ "Name": "a/s", "SecretString": "one", "ClientRequestToken": token });
    let made = manager("CreateSecret", create.clone()).await;
    let arn = made["ARN"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:secretsmanager:us-east-1:000000000000:secret:a/s-"));
    assert_eq!(manager("CreateSecret", create).await, made);
    assert_eq!(refused("CreateSecret", json!({ "Name": "a/s" })).await, "ResourceExistsException");
    assert_eq!(refused("CreateSecret", json!({ "Name": "a s" })).await, "ValidationException");
    let put = manager("PutSecretValue", json!({ "SecretId": "a/s", "SecretString": "two" })).await;
    assert_eq!(put["VersionStages"], json!(["AWSCURRENT"]));
    let value = async |input: Value| manager("GetSecretValue", input).await["SecretString"].clone();
    for id in ["a/s", arn, &arn[..arn.len() - 7]] {
        assert_eq!(value(json!({ "SecretId": id })).await, "two");
    }
    assert_eq!(value(json!({ "SecretId": "a/s", "VersionStage": "AWSPREVIOUS" })).await, "one");
    assert_eq!(value(json!({ "SecretId": "a/s", "VersionId": token })).await, "one");
    let wrong = json!({ "SecretId": "a/s", "VersionId": token, "VersionStage": "AWSCURRENT" });
    assert_eq!(refused("GetSecretValue", wrong).await, "InvalidRequestException");
    let none = json!({ "SecretId": "a/s", "VersionStage": "AWSPENDING" });
    assert_eq!(refused("GetSecretValue", none).await, "ResourceNotFoundException");
    let other = json!({ "SecretId": "a/s", "SecretString": "x", "ClientRequestToken": token });
    assert_eq!(refused("PutSecretValue", other).await, "ResourceExistsException");
    assert_eq!(refused("PutSecretValue", json!({ "SecretId": "a/s" })).await, "InvalidRequestException");
    manager("UpdateSecret", json!({ "SecretId": "a/s", "SecretBinary": "AP8=", "Description": "d" })).await;
    assert_eq!(manager("GetSecretValue", json!({ "SecretId": "a/s" })).await["SecretBinary"], "AP8=");
    manager("TagResource", json!({ "SecretId": "a/s", "Tags": [{ "Key": "k", "Value": "v" }, { "Key": "l" }] })).await;
    manager("UntagResource", json!({ "SecretId": "a/s", "TagKeys": ["l"] })).await;
    let described = manager("DescribeSecret", json!({ "SecretId": arn })).await;
    assert_eq!((&described["Description"], &described["Tags"]), (&json!("d"), &json!([{ "Key": "k", "Value": "v" }])));
    assert_eq!(described["VersionIdsToStages"].as_object().unwrap().len(), 2);
    let versions = json!({ "SecretId": "a/s", "IncludeDeprecated": true });
    assert_eq!(manager("ListSecretVersionIds", versions).await["Versions"].as_array().unwrap().len(), 3);

    manager("CreateSecret", json!({ "Name": "b" })).await;
    let first = manager("ListSecrets", json!({ "MaxResults": 1 })).await;
    assert_eq!((&first["SecretList"][0]["Name"], &first["NextToken"]), (&json!("a/s"), &json!("a/s")));
    let second = manager("ListSecrets", json!({ "NextToken": "a/s" })).await;
    assert_eq!((&second["SecretList"][0]["Name"], second.get("NextToken")), (&json!("b"), None));

    let both = json!({ "SecretId": "b", "RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": true });
    assert_eq!(refused("DeleteSecret", both).await, "InvalidParameterException");
    assert_eq!(
        refused("DeleteSecret", json!({ "SecretId": "b", "RecoveryWindowInDays": 3 })).await,
        "InvalidParameterException"
    );
    manager("DeleteSecret", json!({ "SecretId": "a/s" })).await;
    assert_eq!(refused("GetSecretValue", json!({ "SecretId": "a/s" })).await, "InvalidRequestException");
    assert_eq!(refused("CreateSecret", json!({ "Name": "a/s" })).await, "InvalidRequestException");
    manager("RestoreSecret", json!({ "SecretId": "a/s" })).await;
    manager("DeleteSecret", json!({ "SecretId": "a/s", "ForceDeleteWithoutRecovery": true })).await;
    let gone = call(&platform, "secretsmanager", "GetSecretValue", json!({ "SecretId": "a/s" })).await;
    assert_eq!(gone.json()["message"], "Secrets Manager can't find the specified secret.");
    let password = json!({ "PasswordLength": 20, "ExcludePunctuation": true, "ExcludeCharacters": "abc" });
    let password = manager("GetRandomPassword", password).await["RandomPassword"].as_str().unwrap().to_owned();
    assert!(password.len() == 20 && password.chars().all(|c| c.is_ascii_alphanumeric() && !"abc".contains(c)));
    assert_eq!(refused("RotateSecret", json!({})).await, "NotImplementedException");
    platform.stop().await;
}

#[tokio::test]
async fn no_secrets_name_takes_anothers_arn() {
    let platform = Platform::start().await;
    let manager = async |operation: &str, input: Value| ok(&platform, "secretsmanager", operation, input).await;
    let first = manager("CreateSecret", json!({ "Name": "s", "SecretString": "first" })).await;
    let arn = first["ARN"].as_str().unwrap();
    let (_, name) = arn.rsplit_once(':').unwrap();
    let second = manager("CreateSecret", json!({ "Name": name, "SecretString": "second" })).await;
    let value = async |id: &Value| manager("GetSecretValue", json!({ "SecretId": id })).await["SecretString"].clone();
    assert_eq!(value(&first["ARN"]).await, "first");
    assert_eq!(value(&second["ARN"]).await, "second");
    assert_eq!(value(&json!(name)).await, "second");
    manager("DeleteSecret", json!({ "SecretId": arn, "ForceDeleteWithoutRecovery": true })).await;
    assert_eq!(value(&second["ARN"]).await, "second");
    platform.stop().await;
}

#[tokio::test]
async fn another_accounts_are_not_there() {
    let platform = Platform::start().await;
    let put = parameters::Put {
        name: "/p".into(),
        value: "x".into(),
        kind: Some(parameters::Kind::String),
        tier: None,
        description: None,
        data_type: "text".into(),
        overwrites: false,
        at: Timestamp::now(),
        by: String::new(),
    };
    platform.node.parameters().put(theirs(), put).await.unwrap();
    let (now, suffix) = (Timestamp::now(), "AAAAAA".to_owned());
    let (description, deleted, tags) = (None, None, Default::default());
    let secret = secrets::Secret { suffix, description, created_at: now, changed_at: now, deleted, tags };
    platform.node.secrets().create(theirs(), "s".into(), secret, None).await.unwrap();
    for name in ["/p", "arn:aws:ssm:us-east-1:111111111111:parameter/p"] {
        assert_eq!(code(&platform, "ssm", "GetParameter", json!({ "Name": name })).await, "ParameterNotFound");
        assert_eq!(code(&platform, "ssm", "DeleteParameter", json!({ "Name": name })).await, "ParameterNotFound");
    }
    let listed = ok(&platform, "ssm", "DescribeParameters", json!({})).await;
    assert_eq!(listed, json!({ "Parameters": [] }));
    for id in ["s", "arn:aws:secretsmanager:us-east-1:111111111111:secret:s-AAAAAA"] {
        for operation in ["GetSecretValue", "DescribeSecret", "DeleteSecret", "RestoreSecret"] {
            let found = code(&platform, "secretsmanager", operation, json!({ "SecretId": id })).await;
            assert_eq!(found, "ResourceNotFoundException", "{operation} {id}");
        }
    }
    assert_eq!(ok(&platform, "secretsmanager", "ListSecrets", json!({})).await, json!({ "SecretList": [] }));
    platform.stop().await;
}
