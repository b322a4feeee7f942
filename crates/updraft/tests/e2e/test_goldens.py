"""The lives of functions, versions, aliases, layers, images and policies, step by step as AWS was recorded to answer them."""

from goldens import (  # noqa: F401 (fixtures are taken by name)
    ACCOUNT,
    ONE,
    ROLE,
    TWO,
    Scenario,
    aws,
    create,
    function,
    refused,
    updated,
)
from harness import zip_of
from images import Image, layer


def test_function_lifecycle(aws, function):
    scenario = Scenario("test_function_lifecycle")
    options = {"Handler": "handler.handler", "MemorySize": 256, "Timeout": 5, "Environment": {"Variables": {}}}
    scenario.same("create_response", create(aws, function, **options))
    scenario.same("get_function_response", aws.get_function(FunctionName=function))
    changed = aws.update_function_configuration(
        FunctionName=function,
        Description="Changed-Description",
        MemorySize=512,
        Timeout=10,
        Environment={"Variables": {"ENV_A": "a"}},
    )
    scenario.same("update_func_conf_response", changed)
    updated(aws, function)
    scenario.same("get_function_response_postupdate", aws.get_function(FunctionName=function))
    scenario.same("update_code_response", aws.update_function_code(FunctionName=function, ZipFile=TWO))
    updated(aws, function)
    scenario.same("get_function_response_postcodeupdate", aws.get_function(FunctionName=function))
    scenario.same("delete_response", aws.delete_function(FunctionName=function))


def test_redundant_updates(aws, function):
    scenario = Scenario("test_redundant_updates")
    options = {"Handler": "handler.handler", "Timeout": 30, "Environment": {"Variables": {}}}
    scenario.same("create_response", create(aws, function, Description="Initial description", **options))
    change = {"FunctionName": function, "Description": "1st update description"}
    scenario.same("first_update_result", aws.update_function_configuration(**change))
    updated(aws, function)
    scenario.same("get_fn_config_result", aws.get_function_configuration(FunctionName=function))
    scenario.same("get_fn_result", aws.get_function(FunctionName=function))
    scenario.same("redundant_update_result", aws.update_function_configuration(**change))
    updated(aws, function)
    scenario.same("get_fn_result_after_redundant_update", aws.get_function(FunctionName=function))


def test_publish_version_on_create(aws, function):
    scenario = Scenario("test_publish_version_on_create")
    scenario.same("create_response", create(aws, function, Publish=True))
    scenario.same("get_function_result", aws.get_function(FunctionName=function))
    scenario.same("get_function_version_result", aws.get_function(FunctionName=function, Qualifier="1"))
    scenario.same("get_function_latest_result", aws.get_function(FunctionName=function, Qualifier="$LATEST"))
    scenario.same("list_versions_result", aws.list_versions_by_function(FunctionName=function))
    scenario.same("repeated_publish_response", aws.publish_version(FunctionName=function))
    scenario.same("list_versions_result_after_publish", aws.list_versions_by_function(FunctionName=function))


def test_publish_with_wrong_sha256(aws, function):
    scenario = Scenario("test_publish_with_wrong_sha256")
    scenario.same("create_response", create(aws, function))
    got = aws.get_function(FunctionName=function)
    scenario.same("get_fn_response", got)
    wrong = refused(aws.publish_version, FunctionName=function, CodeSha256="somenonexistentsha256")
    scenario.same("publish_wrong_sha256_exc", wrong)
    right = got["Configuration"]["CodeSha256"]
    scenario.same("publish_result", aws.publish_version(FunctionName=function, CodeSha256=right))


def test_publish_with_update(aws, function):
    scenario = Scenario("test_publish_with_update")
    scenario.same("create_response", create(aws, function))
    scenario.same("get_function_result", aws.get_function(FunctionName=function))
    changed = aws.update_function_code(FunctionName=function, ZipFile=TWO, Publish=True)
    scenario.same("update_function_code_result", changed)


def two_versions(aws, scenario, function):
    scenario.same("create_response", create(aws, function, Environment={"Variables": {"testenv": "staging"}}))
    scenario.same("publish_v1", aws.publish_version(FunctionName=function))
    aws.update_function_configuration(FunctionName=function, Environment={"Variables": {"testenv": "prod"}})
    updated(aws, function)
    scenario.same("publish_v2", aws.publish_version(FunctionName=function))


def test_alias_lifecycle(aws, function):
    scenario = Scenario("test_alias_lifecycle")
    two_versions(aws, scenario, function)

    def alias(step, name, version, **more):
        made = aws.create_alias(FunctionName=function, Name=name, FunctionVersion=version, **more)
        scenario.same(f"create_alias_{step}", made)
        scenario.same(f"get_alias_{step}", aws.get_alias(FunctionName=function, Name=name))

    text = {"Description": "custom-alias"}
    alias("1_1", "aliasname1_1", "1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.2}}, **text)
    scenario.same("get_function_alias_1_1", aws.get_function(FunctionName=function, Qualifier="aliasname1_1"))
    arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{function}"
    scenario.same("get_function_byarn_alias_1_1", aws.get_function(FunctionName=f"{arn}:aliasname1_1"))
    missing = refused(aws.get_function, FunctionName=function, Qualifier="aliasdoesnotexist")
    scenario.same("get_function_alias_notfound_exc", missing)
    missing = refused(aws.get_function, FunctionName=f"{arn}:aliasdoesnotexist")
    scenario.same("get_function_alias_byarn_notfound_exc", missing)
    alias("1_2", "aliasname1_2", "1", **text)
    alias("1_3", "aliasname1_3", "1")
    alias("2", "aliasname2", "2", **text)
    scenario.same("list_aliases_for_fnname", aws.list_aliases(FunctionName=function))
    no_routing = {"RoutingConfig": {"AdditionalVersionWeights": {}}}
    changed = aws.update_alias(FunctionName=function, Name="aliasname1_1", **no_routing)
    scenario.same("update_alias_1_1", changed)
    got = aws.get_alias(FunctionName=function, Name="aliasname1_1")
    scenario.same("get_alias_1_1_after_update", got)
    scenario.same("list_aliases_for_fnname_after_update", aws.list_aliases(FunctionName=function))


def test_alias_routing_errors(aws, function):
    scenario = Scenario("test_notfound_and_invalid_routingconfigs")
    scenario.same(
        "create_response", create(aws, function, Environment={"Variables": {"testenv": "staging"}}, Publish=True)
    )
    scenario.same("publish_v1", aws.publish_version(FunctionName=function))
    aws.update_function_configuration(FunctionName=function, Environment={"Variables": {"testenv": "prod"}})
    updated(aws, function)
    scenario.same("publish_v2", aws.publish_version(FunctionName=function))

    def routed(step, weights, version="1"):
        routing = {"AdditionalVersionWeights": weights}
        error = refused(
            aws.create_alias, FunctionName=function, Name="custom", FunctionVersion=version, RoutingConfig=routing
        )
        scenario.same(step, error)

    routed("routing_config_exc_toomany", {"1": 0.8, "2": 0.2})
    routed("routing_config_exc_toohigh", {"2": 2.0})
    routed("routing_config_exc_sameversion", {"1": 0.5})
    missing = refused(aws.create_alias, FunctionName=function, Name="custom", FunctionVersion="10")
    scenario.same("target_version_doesnotexist", missing)
    routed("routing_config_exc_version_doesnotexist", {"10": 0.5})


def test_alias_naming(aws, function):
    scenario = Scenario("test_alias_naming")
    scenario.same("create_response", create(aws, function, Environment={"Variables": {"testenv": "staging"}}))
    scenario.same("publish_v1", aws.publish_version(FunctionName=function))
    named = {"FunctionName": function, "FunctionVersion": "1", "Description": "custom-alias"}
    scenario.same("create_alias_date", aws.create_alias(Name="2024-01-02", **named))
    scenario.same("get_alias_date", aws.get_alias(FunctionName=function, Name="2024-01-02"))
    scenario.same("create_alias_number_exception", refused(aws.create_alias, Name="2024", **named))


def test_alias_that_is_not_there(aws, function):
    scenario = Scenario("test_non_existent_alias_update")
    scenario.same("create_response", create(aws, function, Environment={"Variables": {"testenv": "staging"}}))
    scenario.same(
        "update_alias_response",
        refused(aws.update_alias, FunctionName=function, Name="non-existent", Description="anything"),
    )


def test_tag_lifecycle(aws, function):
    scenario = Scenario("test_tag_lifecycle")
    arn = create(aws, function)["FunctionArn"]

    def step(name, call, **arguments):
        scenario.same(f"{name}_response", call(Resource=arn, **arguments))
        scenario.same(f"{name}_response_listtags", aws.list_tags(Resource=arn))

    step("tag_single", aws.tag_resource, Tags={"A": "tag-a"})
    step("tag_multiple", aws.tag_resource, Tags={"B": "tag-b", "C": "tag-c"})
    step("tag_overlap", aws.tag_resource, Tags={"C": "tag-c-newsuffix", "D": "tag-d"})
    step("untag_single", aws.untag_resource, TagKeys=["A"])
    step("untag_multiple", aws.untag_resource, TagKeys=["B", "C"])
    step("untag_nonexisting", aws.untag_resource, TagKeys=["F"])
    step("untag_existing_and_nonexisting", aws.untag_resource, TagKeys=["D", "F"])


def test_function_concurrency(aws, function):
    scenario = Scenario("test_function_concurrency")
    create(aws, function)
    for count in (0, 1):
        put = aws.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=count)
        scenario.same(f"put_function_concurrency_with_reserved_{count}", put)
    scenario.same("get_function_concurrency", aws.get_function_concurrency(FunctionName=function))
    scenario.same("delete_response", aws.delete_function_concurrency(FunctionName=function))
    scenario.same("get_function_concurrency_after_delete", aws.get_function_concurrency(FunctionName=function))


def permission(aws, function, sid, **more):
    return aws.add_permission(
        FunctionName=function, StatementId=sid, Action=more.pop("Action", "lambda:InvokeFunction"), **more
    )


def test_permissions_come_and_go(aws, function):
    scenario = Scenario("test_remove_multi_permissions")
    create(aws, function)
    scenario.same("add_permission_1", permission(aws, function, "s3", Principal="s3.amazonaws.com"))
    source = {"Principal": "sqs.amazonaws.com", "SourceArn": "arn:aws:s3:::bucket"}
    scenario.same("add_permission_2", permission(aws, function, "sqs", **source))
    scenario.same("policy_after_2_add", aws.get_policy(FunctionName=function))
    missing = refused(aws.remove_permission, FunctionName=function, StatementId="non-existent")
    scenario.same("remove_permission_exception_nonexisting_sid", missing)
    aws.remove_permission(FunctionName=function, StatementId="sqs")
    scenario.same("policy_after_removal", aws.get_policy(FunctionName=function))
    aws.remove_permission(FunctionName=function, StatementId="s3")
    scenario.same("get_policy_exception_removed_all", refused(aws.get_policy, FunctionName=function))


def test_permission_exceptions(aws, function):
    scenario = Scenario("test_permission_exceptions")
    create(aws, function)
    s3 = {"Principal": "s3.amazonaws.com", "Action": "lambda:InvokeFunction"}

    def adding(step, sid="s3", **more):
        given = {"FunctionName": function, "StatementId": sid} | s3 | more
        scenario.same(step, refused(aws.add_permission, **given))

    adding("add_permission_invalid_statement_id", sid="example.com")
    adding("add_permission_fn_qualifier_mismatch", FunctionName=f"{function}:alias-not-42", Qualifier="42")
    adding("add_permission_fn_qualifier_latest", Qualifier="$LATEST")
    adding("add_permission_principal_invalid", Principal="invalid.nonaws.com")
    scenario.same("get_policy_fn_doesnotexist", refused(aws.get_policy, FunctionName="doesnotexist"))
    missing = refused(aws.get_policy, FunctionName=function, Qualifier="42")
    scenario.same("get_policy_fn_version_doesnotexist", missing)
    adding("add_permission_fn_doesnotexist", FunctionName="doesnotexist")
    missing = refused(aws.remove_permission, FunctionName=function, StatementId="s3")
    scenario.same("remove_permission_policy_doesnotexist", missing)
    adding("add_permission_fn_alias_doesnotexist", Qualifier="alias-doesnotexist")
    adding("add_permission_fn_version_doesnotexist", Qualifier="42")
    adding("add_permission_fn_qualifier_invalid", Qualifier="invalid-qualifier-with-?-char")
    adding("add_permission_fn_qualifier_valid_doesnotexist", Qualifier="valid-with-$-but-doesnotexist")
    permission(aws, function, "s3", Principal="s3.amazonaws.com", SourceArn="arn:aws:s3:::bucket")
    adding("add_permission_conflicting_statement_id")
    missing = refused(aws.remove_permission, FunctionName="doesnotexist", StatementId="s3")
    scenario.same("remove_permission_fn_doesnotexist", missing)
    missing = refused(
        aws.remove_permission, FunctionName=function, StatementId="s3", Qualifier="alias-doesnotexist"
    )
    scenario.same("remove_permission_fn_alias_doesnotexist", missing)


def test_permission_principals(aws, function):
    scenario = Scenario("test_add_lambda_permission_fields")
    create(aws, function)
    account = {"SourceAccount": ACCOUNT}
    for step, sid, more in [
        ("wildcard", "wilcard", {"Principal": "*"} | account),
        ("service", "lambda", {"Principal": "lambda.amazonaws.com"} | account),
        ("account", "account-id", {"Principal": ACCOUNT}),
    ]:
        scenario.same(f"add_permission_principal_{step}", permission(aws, function, sid, **more))
    everything = {
        "Action": "lambda:InvokeFunctionUrl",
        "Principal": "*",
        "SourceArn": "arn:aws:s3:::bucket",
        "PrincipalOrgID": "o-1234567890",
        "FunctionUrlAuthType": "NONE",
    }
    scenario.same("add_permission_optional_fields", permission(aws, function, "urlPermission", **everything | account))
    token = "amzn1.ask.skill.xxxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
    skill = permission(aws, function, "alexaSkill", Principal="*", EventSourceToken=token)
    scenario.same("add_permission_alexa_skill", skill)


def test_function_revisions(aws, function):
    scenario = Scenario("test_function_revisions_basic")
    made = create(aws, function, Timeout=30, Environment={"Variables": {}})
    scenario.same("create_function_response_rev1", made)
    scenario.same("get_function_response_rev2", aws.get_function(FunctionName=function))
    stale = {"FunctionName": function, "RevisionId": "wrong"}
    scenario.same("update_function_revision_exception", refused(aws.update_function_code, ZipFile=TWO, **stale))
    now = aws.get_function(FunctionName=function)["Configuration"]["RevisionId"]
    changed = aws.update_function_code(FunctionName=function, ZipFile=ONE, RevisionId=now)
    scenario.same("update_function_code_response_rev3", changed)
    updated(aws, function)
    scenario.same("get_function_response_rev4", aws.get_function(FunctionName=function))
    stale = refused(aws.update_function_configuration, Description="x", **stale)
    scenario.same("update_function_configuration_revision_exception", stale)


def test_recursion(aws, function):
    scenario = Scenario("test_put_function_recursion_config_allow")
    create(aws, function)
    put = aws.put_function_recursion_config(FunctionName=function, RecursiveLoop="Allow")
    scenario.same("put_recursion_config_response", put)
    scenario.same("get_recursion_config_response", aws.get_function_recursion_config(FunctionName=function))
    scenario = Scenario("test_put_function_recursion_config_invalid_value")
    bad = refused(aws.put_function_recursion_config, FunctionName=function, RecursiveLoop="InvalidValue")
    scenario.same("put_recursion_invalid_value_error", bad)


def test_event_invoke_config(aws, function):
    scenario = Scenario("test_lambda_eventinvokeconfig_lifecycle")
    create(aws, function, Handler="handler.handler", Timeout=30, Environment={"Variables": {}})
    name = {"FunctionName": function}
    put, get = aws.put_function_event_invoke_config, aws.get_function_event_invoke_config
    scenario.same("put_invokeconfig_retries_0", put(MaximumRetryAttempts=0, **name))
    scenario.same("put_invokeconfig_eventage_60", put(MaximumEventAgeInSeconds=60, **name))
    update = aws.update_function_event_invoke_config
    scenario.same("update_invokeconfig_eventage_nochange", update(MaximumEventAgeInSeconds=60, **name))
    scenario.same("update_invokeconfig_retries", update(MaximumRetryAttempts=1, **name))
    scenario.same("get_invokeconfig", get(**name))
    scenario.same("get_invokeconfig_latest", get(Qualifier="$LATEST", **name))
    scenario.same("list_single_invokeconfig", aws.list_function_event_invoke_configs(**name))
    scenario.same("publish_version_result", aws.publish_version(**name))
    scenario.same("get_invokeconfig_postpublish", refused(get, Qualifier="1", **name))
    scenario.same("put_published_invokeconfig", put(Qualifier="1", MaximumEventAgeInSeconds=120, **name))
    scenario.same("get_published_invokeconfig", get(Qualifier="1", **name))


def test_provisioned_concurrency(aws, function):
    scenario = Scenario("test_lambda_provisioned_lifecycle")
    create(aws, function, Handler="handler.handler", Timeout=30, Environment={"Variables": {}})
    name = {"FunctionName": function}
    scenario.same("publish_version_result", aws.publish_version(**name))
    scenario.same("create_alias_result", aws.create_alias(Name="a-name", FunctionVersion="1", **name))
    put = aws.put_provisioned_concurrency_config
    one = {"ProvisionedConcurrentExecutions": 1} | name
    scenario.same("put_provisioned_on_version", put(Qualifier="1", **one))
    scenario.same("put_provisioned_on_alias_versionconflict", refused(put, Qualifier="a-name", **one))
    deleted = aws.delete_provisioned_concurrency_config(Qualifier="1", **name)
    scenario.same("delete_provisioned_version", deleted)
    get = aws.get_provisioned_concurrency_config
    scenario.same("get_provisioned_version_postdelete", refused(get, Qualifier="1", **name))
    scenario.same("put_provisioned_on_alias", put(Qualifier="a-name", **one))
    scenario.same("put_provisioned_on_version_conflict", refused(put, Qualifier="1", **one))
    scenario.same("delete_alias_result", aws.delete_alias(Name="a-name", **name))
    scenario.same("get_provisioned_alias_postaliasdelete", refused(get, Qualifier="a-name", **name))
    listed = aws.list_provisioned_concurrency_configs(**name)
    scenario.same("list_response_postdeletes", listed)


def test_provisioned_concurrency_exceptions(aws, function):
    scenario = Scenario("test_provisioned_concurrency_exceptions")
    create(aws, function, Handler="handler.handler", Timeout=30, Environment={"Variables": {}})
    scenario.same("publish_version_result", aws.publish_version(FunctionName=function))
    nowhere = {"FunctionName": "doesnotexist"}

    def bad(step, call, **arguments):
        scenario.same(step, refused(call, **{"FunctionName": function} | arguments))

    get, delete = aws.get_provisioned_concurrency_config, aws.delete_provisioned_concurrency_config
    bad("get_provisioned_config_doesnotexist", get, Qualifier="1")
    bad("get_provisioned_functionname_doesnotexist", get, Qualifier="noalias", **nowhere)
    bad("get_provisioned_qualifier_doesnotexist", get, Qualifier="noalias")
    bad("get_provisioned_version_doesnotexist", get, Qualifier="10")
    bad("get_provisioned_latest", get, Qualifier="$LATEST")
    bad("delete_provisioned_functionname_doesnotexist", delete, Qualifier="1", **nowhere)
    bad("delete_provisioned_qualifier_doesnotexist", delete, Qualifier="noalias")
    bad("delete_provisioned_version_doesnotexist", delete, Qualifier="10")
    bad("delete_provisioned_latest", delete, Qualifier="$LATEST")
    scenario.same("delete_provisioned_config_doesnotexist", delete(FunctionName=function, Qualifier="1"))

    def put(**arguments):
        return aws.put_provisioned_concurrency_config(**{"ProvisionedConcurrentExecutions": 1} | arguments)

    bad("put_provisioned_functionname_doesnotexist_alias", put, Qualifier="noalias", **nowhere)
    bad("put_provisioned_functionname_doesnotexist_version", put, Qualifier="1", **nowhere)
    bad("put_provisioned_qualifier_doesnotexist", put, Qualifier="doesnotexist")
    bad("put_provisioned_version_doesnotexist", put, Qualifier="10")
    bad("put_provisioned_latest", put, Qualifier="$LATEST")


def test_layers(aws, function):
    scenario = Scenario("test_layer_lifecycle")
    create(aws, function, Handler="handler.handler", Timeout=30, Environment={"Variables": {}})
    scenario.same("get_fn_result", aws.get_function(FunctionName=function))
    layer = f"{function}-layer"
    given = {
        "LayerName": layer,
        "Description": "a description",
        "LicenseInfo": "a licence",
        "CompatibleRuntimes": ["python3.12"],
        "CompatibleArchitectures": ["x86_64"],
        "Content": {"ZipFile": zip_of({"python/shared.py": "VALUE = 1\n"})},
    }
    first = aws.publish_layer_version(**given)
    scenario.same("publish_result", first)
    scenario.same("publish_result_2", aws.publish_layer_version(**given))
    arn = first["LayerVersionArn"]
    changed = aws.update_function_configuration(FunctionName=function, Layers=[arn])
    scenario.same("update_fn_config", changed)
    updated(aws, function)
    scenario.same("get_fn_config", aws.get_function_configuration(FunctionName=function))
    scenario.same("get_layer_ver_result", aws.get_layer_version(LayerName=layer, VersionNumber=1))
    scenario.same("get_layer_by_arn_version", aws.get_layer_version_by_arn(Arn=arn))
    scenario.same("list_layer_versions_predelete", aws.list_layer_versions(LayerName=layer))
    scenario.same("delete_layer_1", aws.delete_layer_version(LayerName=layer, VersionNumber=1))
    scenario.same("get_fn_config_postdelete", aws.get_function_configuration(FunctionName=function))
    scenario.same("delete_layer_2", aws.delete_layer_version(LayerName=layer, VersionNumber=2))
    scenario.same("list_layer_versions_postdelete", aws.list_layer_versions(LayerName=layer))
    scenario.same("publish_result_3", aws.publish_layer_version(**given))
    aws.delete_layer_version(LayerName=layer, VersionNumber=3)


def test_layer_policies(aws, function):
    scenario = Scenario("test_layer_policy_lifecycle")
    layer = {"LayerName": f"{function}-layer", "VersionNumber": 1}
    published = aws.publish_layer_version(
        LayerName=layer["LayerName"],
        CompatibleRuntimes=["python3.12"],
        CompatibleArchitectures=["x86_64"],
        Content={"ZipFile": zip_of({"python/shared.py": "VALUE = 1\n"})},
    )
    scenario.same("publish_result", published)
    anyone = {"Action": "lambda:GetLayerVersion", "Principal": "*"}
    first = aws.add_layer_version_permission(StatementId="s1", **layer, **anyone)
    scenario.same("add_policy_s1", first)
    scenario.same("get_layer_version_policy", aws.get_layer_version_policy(**layer))
    second = aws.add_layer_version_permission(
        StatementId="s2", RevisionId=first["RevisionId"], **layer, **anyone
    )
    scenario.same("add_policy_s2", second)
    scenario.same("get_layer_version_policy_postadd2", aws.get_layer_version_policy(**layer))
    removed = aws.remove_layer_version_permission(StatementId="s2", RevisionId=second["RevisionId"], **layer)
    scenario.same("remove_s2", removed)
    scenario.same("get_layer_version_policy_postdeletes2", aws.get_layer_version_policy(**layer))
    aws.delete_layer_version(**layer)


def test_logging_formats(aws, function):
    scenario = Scenario("test_advanced_logging_configuration_format_switch")
    options = {"Handler": "handler.handler", "MemorySize": 256, "Timeout": 5, "Environment": {"Variables": {}}}
    scenario.same("create_response", create(aws, function, **options))
    scenario.same("get_function_response", aws.get_function(FunctionName=function))
    for step, log_format in [("", "JSON"), ("_v2", "Text")]:
        changed = aws.update_function_configuration(FunctionName=function, LoggingConfig={"LogFormat": log_format})
        scenario.same(f"updated_config{step}", changed)
        updated(aws, function)
        scenario.same(f"received_config{step}", aws.get_function_configuration(FunctionName=function))


def push_image(aws, folder, name):
    """An image of little but a name of its own, under ECR's kind of name; it is never invoked."""
    image = Image([layer({"app/x": name})], {"Cmd": ["/app/x"]})
    aws.platform.updraft("image", "push", name, image.docker_archive(folder / f"{name}.tar"))
    return f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/{name}:latest"


def create_image(aws, function, uri, **more):
    made = aws.create_function(
        FunctionName=function,
        Role=ROLE,
        PackageType="Image",
        Code={"ImageUri": uri},
        Environment={"Variables": {"CUSTOM_ENV": "test"}},
        **more,
    )
    aws.get_waiter("function_active_v2").wait(FunctionName=function)
    return made


def test_images(aws, function, folder):
    scenario = Scenario("test_lambda_image_crud")
    first, second = push_image(aws, folder, "first"), push_image(aws, folder, "second")
    scenario.same("create-image-response", create_image(aws, function, first))
    scenario.same("get-function-code-response", aws.get_function(FunctionName=function))
    scenario.same("get-function-config-response", aws.get_function_configuration(FunctionName=function))
    error = refused(aws.update_function_code, FunctionName=function, ZipFile=ONE)
    scenario.same("image-to-zipfile-error", error)
    scenario.same("update-function-code-response", aws.update_function_code(FunctionName=function, ImageUri=second))
    updated(aws, function)
    scenario.same("get-function-code-response-after-update", aws.get_function(FunctionName=function))
    after = aws.get_function_configuration(FunctionName=function)
    scenario.same("get-function-config-response-after-update", after)


def test_image_configurations(aws, function, folder):
    scenario = Scenario("test_lambda_image_and_image_config_crud")
    uri = push_image(aws, folder, "configured")
    whole = {"EntryPoint": ["sh"], "Command": ["-c", "echo test"], "WorkingDirectory": "/app1"}
    scenario.same("create-image-with-config-response", create_image(aws, function, uri, ImageConfig=whole))
    scenario.same("get-function-code-with-config-response", aws.get_function(FunctionName=function))
    shown = aws.get_function_configuration(FunctionName=function)
    scenario.same("get-function-config-with-config-response", shown)
    steps = [
        ("update-function-code-response", "after-update", {"Command": ["-c", "echo test1"], "WorkingDirectory": "/app1"}),
        ("update-function-code-delete-imageconfig-response", "after-delete-imageconfig", {}),
    ]
    for step, after, config in steps:
        scenario.same(step, aws.update_function_configuration(FunctionName=function, ImageConfig=config))
        updated(aws, function)
        scenario.same(f"get-function-code-response-{after}", aws.get_function(FunctionName=function))
        shown = aws.get_function_configuration(FunctionName=function)
        scenario.same(f"get-function-config-response-{after}", shown)


def test_a_zip_does_not_become_an_image(aws, function, folder):
    scenario = Scenario("test_lambda_zip_file_to_image")
    create(aws, function)
    error = refused(aws.update_function_code, FunctionName=function, ImageUri=push_image(aws, folder, "never"))
    scenario.same("zipfile-to-image-error", error)
