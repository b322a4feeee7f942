"""Greets by name, whether it is invoked with an event or visited at its URL."""


def handler(event, context):
    query = event.get("queryStringParameters") or {}
    name = event.get("name") or query.get("name") or "world"
    print(f"greeting {name}")
    return {"message": f"Hello, {name}!"}
