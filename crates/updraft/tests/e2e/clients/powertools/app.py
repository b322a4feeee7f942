"""One function with Powertools' utilities, each behind a handler of its own."""

from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import LambdaFunctionUrlResolver, Response
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.logging import correlation_paths
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.parser import BaseModel, event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from aws_lambda_powertools.utilities.validation import validator

logger = Logger(service="shop")
tracer = Tracer(service="shop")
metrics = Metrics(namespace="shop", service="shop")
urls = LambdaFunctionUrlResolver(enable_validation=True)
# With validation every body has to be text.
files = LambdaFunctionUrlResolver()
batch = BatchProcessor(event_type=EventType.SQS)


@logger.inject_lambda_context(correlation_id_path="id", log_event=True)
def log(event: dict, context: LambdaContext) -> dict:
    logger.append_keys(order=event["order"])
    logger.info({"what": "an order", "paid": True}, extra={"customer": "Ünlü"})
    logger.debug("not at this level")
    try:
        raise ValueError("no such thing")
    except ValueError:
        logger.exception("it went wrong")
    return {"correlation": logger.get_correlation_id(), "remaining": context.get_remaining_time_in_millis() > 0}


@metrics.log_metrics(capture_cold_start_metric=True)
def measure(event: dict, context: LambdaContext) -> int:
    metrics.add_metric(name="Orders", unit=MetricUnit.Count, value=event["orders"])
    return event["orders"]


@tracer.capture_method
def traced(text: str) -> str:
    tracer.put_annotation(key="text", value=text)
    tracer.put_metadata(key="length", value=len(text))
    if not text:
        raise ValueError("nothing to trace")
    return text.upper()


@tracer.capture_lambda_handler
def trace(event: dict, context: LambdaContext) -> dict:
    text, segment = traced(event["text"]), tracer.provider.current_segment()
    return {"text": text, "disabled": tracer.disabled, "sampled": segment.sampled, "trace": segment.trace_id}


class Item(BaseModel):
    name: str
    price: float


@urls.get("/items/<name>")
def get_item(name: str, currency: str = "EUR") -> dict:
    if name == "none":
        raise NotFoundError(f"no {name}")
    return {"name": name, "currency": currency, "host": urls.current_event.request_context.domain_name}


@urls.post("/items")
def post_item(item: Item) -> Response[Item]:
    return Response(status_code=201, body=Item(name=item.name.upper(), price=item.price * 2))


@files.get("/bytes")
def get_bytes() -> Response:
    return Response(status_code=200, content_type="application/octet-stream", body=bytes(range(256)))


@logger.inject_lambda_context(correlation_id_path=correlation_paths.LAMBDA_FUNCTION_URL)
def url(event: dict, context: LambdaContext) -> dict:
    resolver = files if event["rawPath"] == "/bytes" else urls
    return resolver.resolve(event, context)


def take(record: SQSRecord) -> Any:
    order = record.json_body
    if order["amount"] < 0:
        raise ValueError("a negative amount")
    return order


def consume(event: dict, context: LambdaContext) -> dict:
    return process_partial_response(event=event, record_handler=take, processor=batch, context=context)


def configure(event: dict, context: LambdaContext) -> dict:
    """Asks the platform's own services, with the credentials and the endpoint a function finds in its environment."""
    return {
        "plain": parameters.get_parameter("/shop/colour"),
        "sealed": parameters.get_parameter("/shop/keys/api", decrypt=True),
        "all": parameters.get_parameters("/shop", recursive=True, decrypt=True),
        "secret": parameters.get_secret("shop/database", transform="json"),
    }


def overreach(event: dict, context: LambdaContext) -> str:
    return parameters.get_parameter("/office/colour")


SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema",
    "type": "object",
    "properties": {"name": {"type": "string"}, "price": {"type": "number", "minimum": 0}},
    "required": ["name", "price"],
}


@validator(inbound_schema=SCHEMA)
def validate(event: dict, context: LambdaContext) -> str:
    return event["name"]


@event_parser(model=Item)
def parse(event: Item, context: LambdaContext) -> float:
    return event.price


def handler(event: dict, context: LambdaContext) -> Any:
    """An event names the handler it is for; one without a name came from the function's URL."""
    one = globals()[event.pop("to", "url")]
    return one(event, context)
