// A function for the edge:
//
//   GET  /            a greeting in JSON, from the environment variable GREETING
//   POST /            the same with the JSON that was posted; this is what `updraft invoke` sends
//   *    /echo        the request's body, streamed back
//   GET  /welcome     a redirect to the visitor's language, and a cookie that puts them in variant a or b
//   GET  /en /de /fr  the welcome page

#include "memory.h"
#include "wasi.h"

#define TEXT(literal) ((Text){literal, sizeof(literal) - 1})

static const struct { Text code, welcome; } languages[] = {
    {TEXT("en"), TEXT("Welcome!\n")},
    {TEXT("de"), TEXT("Willkommen!\n")},
    {TEXT("fr"), TEXT("Bienvenue !\n")},
};
enum { LANGUAGES = sizeof languages / sizeof *languages };

// Kept from request to request, as an instance may serve many: what the environment said, ready to send, and
// how many requests this instance has seen.
static char greeting[512];
static size_t greeting_length;
static uint32_t served;

typedef struct {
    Handle request, reply_to;
    Text path;
    uint8_t method;
} Call;

static bool same(Text a, Text b) { return a.length == b.length && !__builtin_memcmp(a.at, b.at, a.length); }

static bool starts_with(Text text, Text start) {
    return text.length >= start.length && !__builtin_memcmp(text.at, start.at, start.length);
}

static size_t put(char *to, Text text) {
    __builtin_memcpy(to, text.at, text.length);
    return text.length;
}

static size_t put_number(char *to, uint32_t number) {
    char digits[10];
    size_t count = 0;
    do digits[count++] = '0' + number % 10;
    while (number /= 10);
    for (size_t i = 0; i < count; i++) to[i] = digits[count - 1 - i];
    return count;
}

// Writes `text` as the inside of a JSON string, as far as it fits into `space`.
static size_t put_escaped(char *to, Text text, size_t space) {
    size_t used = 0;
    for (size_t i = 0; i < text.length && used + 6 <= space; i++) {
        unsigned char c = text.at[i];
        if (c < 0x20) {
            used += put(to + used, TEXT("\\u00"));
            to[used++] = '0' + (c >> 4);
            to[used++] = "0123456789abcdef"[c & 15];
        } else {
            if (c == '"' || c == '\\') to[used++] = '\\';
            to[used++] = c;
        }
    }
    return used;
}

// Sends all of `text`; false once the other end is gone.
static bool send(Handle stream, Text text) {
    CountResult room;
    StreamResult result;
    output_check_write(stream, &room);
    if (room.is_error) return false;
    if (room.count >= text.length) {
        output_write(stream, text.at, text.length, &result);
        return !result.is_error;
    }
    for (size_t sent = 0; sent < text.length;) {
        size_t piece = text.length - sent < 4096 ? text.length - sent : 4096;
        output_blocking_write(stream, text.at + sent, piece, &result);
        if (result.is_error) return false;
        sent += piece;
    }
    return true;
}

static void log_line(Text line) {
    Handle out = stdout_get();
    send(out, line);
    output_drop(out);
}

typedef struct { Handle body, stream; } Reply;

static Handle expect(HandleResult result) {
    if (result.is_error) __builtin_trap();
    return result.handle;
}

static Reply begin(const Call *call, int32_t status, const Pair *headers, size_t count) {
    HandleResult made;
    fields_from_list(headers, count, &made);
    Handle response = response_new(expect(made));
    if (status != 200) response_set_status(response, status);
    Reply reply;
    response_body(response, &made);
    reply.body = expect(made);
    outgoing_body_write(reply.body, &made);
    reply.stream = expect(made);
    outparam_set(call->reply_to, 0, response, 0, 0, 0, 0, 0, 0);
    return reply;
}

static void end(Reply reply) {
    FinishResult result;
    output_drop(reply.stream);
    outgoing_body_finish(reply.body, 0, 0, &result);
}

static void answer(const Call *call, int32_t status, Text type, Text body) {
    char digits[10];
    Pair headers[] = {
        {TEXT("content-type"), type},
        {TEXT("content-length"), {digits, put_number(digits, body.length)}},
    };
    // A reply to HEAD has no body, and one that falls short of the length it states would count as broken off.
    bool bodiless = call->method == METHOD_HEAD;
    Reply reply = begin(call, status, headers, bodiless ? 1 : 2);
    if (!bodiless) send(reply.stream, body);
    end(reply);
}

static Text header(const Call *call, Text name) {
    Handle headers = request_headers(call->request);
    Texts values;
    fields_get(headers, name.at, name.length, &values);
    fields_drop(headers);
    return values.length ? values.at[0] : (Text){0, 0};
}

// Copies the request's body to `stream` and says how many bytes it had.
static uint64_t copy_body(const Call *call, Handle stream) {
    HandleResult made;
    request_consume(call->request, &made);
    Handle body = expect(made);
    incoming_body_stream(body, &made);
    Handle source = expect(made);
    uint64_t total = 0;
    CountResult moved;
    while (output_blocking_splice(stream, source, 65536, &moved), !moved.is_error) total += moved.count;
    input_drop(source);
    incoming_body_drop(body);
    return total;
}

static void read_environment(void) {
    Pairs variables;
    Text words = TEXT("Hello from the edge!");
    environment_get(&variables);
    for (size_t i = 0; i < variables.length; i++)
        if (same(variables.at[i].name, TEXT("GREETING"))) words = variables.at[i].value;
    greeting_length = put(greeting, TEXT("{\"greeting\":\""));
    greeting_length += put_escaped(greeting + greeting_length, words, sizeof greeting - greeting_length - 2);
    greeting_length += put(greeting + greeting_length, TEXT("\""));
}

static void greet(const Call *call) {
    char text[sizeof greeting + 32];
    size_t length = put(text, (Text){greeting, greeting_length});
    length += put(text + length, TEXT(",\"served\":"));
    length += put_number(text + length, served);
    if (call->method != METHOD_POST) {
        length += put(text + length, TEXT("}\n"));
        answer(call, 200, TEXT("application/json"), (Text){text, length});
        return;
    }
    if (!starts_with(header(call, TEXT("content-type")), TEXT("application/json"))) {
        answer(call, 415, TEXT("text/plain"), TEXT("post JSON, please\n"));
        return;
    }
    length += put(text + length, TEXT(",\"payload\":"));
    Pair headers[] = {{TEXT("content-type"), TEXT("application/json")}};
    Reply reply = begin(call, 200, headers, 1);
    send(reply.stream, (Text){text, length});
    if (copy_body(call, reply.stream) == 0) send(reply.stream, TEXT("null"));
    send(reply.stream, TEXT("}\n"));
    end(reply);
}

static void echo(const Call *call) {
    Text type = header(call, TEXT("content-type"));
    Pair headers[] = {{TEXT("content-type"), type.length ? type : TEXT("application/octet-stream")}};
    Reply reply = begin(call, 200, headers, 1);
    copy_body(call, reply.stream);
    end(reply);
}

// The language the visitor likes best among ours: `de;q=0.7, fr` is French (RFC 9110, 12.5.4).
static size_t preferred(Text accept) {
    size_t best = 0;
    int best_weight = 0;
    for (size_t i = 0; i < accept.length;) {
        size_t start = i;
        while (i < accept.length && accept.at[i] != ',') i++;
        Text item = {accept.at + start, i++ - start};
        while (item.length && *item.at == ' ') item.at++, item.length--;
        int weight = 1000, unit = 1000;
        for (size_t at = 2; at + 1 < item.length; at++) {
            if (item.at[at] != 'q' || item.at[at + 1] != '=') continue;
            weight = 0;
            for (at += 2; at < item.length && unit > 0; at++) {
                if (item.at[at] < '0' || item.at[at] > '9') continue;
                weight += (item.at[at] - '0') * unit;
                unit /= 10;
            }
        }
        for (size_t language = 0; language < LANGUAGES; language++)
            if (weight > best_weight && starts_with(item, languages[language].code))
                best = language, best_weight = weight;
    }
    return best;
}

static void welcome(const Call *call) {
    size_t language = preferred(header(call, TEXT("accept-language")));
    char place[] = "/en";
    put(place + 1, languages[language].code);
    char cookie[] = "variant=a; Path=/; Max-Age=2592000; SameSite=Lax";
    bool known = starts_with(header(call, TEXT("cookie")), TEXT("variant="));
    if (random_u64() & 1) cookie[8] = 'b';
    Pair headers[] = {
        {TEXT("location"), {place, 3}},
        {TEXT("vary"), TEXT("accept-language")},
        {TEXT("cache-control"), TEXT("private")},
        {TEXT("set-cookie"), {cookie, sizeof cookie - 1}},
    };
    log_line(known ? TEXT("welcomed a returning visitor\n") : TEXT("welcomed a new visitor\n"));
    end(begin(call, 307, headers, known ? 3 : 4));
}

__attribute__((export_name("wasi:http/incoming-handler@0.2.0#handle"))) void handle(Handle request, Handle reply_to) {
    memory_reset();
    served++;
    if (!greeting_length) read_environment();
    Method method;
    MaybeText path;
    request_method(request, &method);
    request_path(request, &path);
    Call call = {request, reply_to, path.is_some ? path.text : TEXT("/"), method.kind};
    for (size_t i = 0; i < call.path.length; i++)
        if (call.path.at[i] == '?') call.path.length = i;

    if (same(call.path, TEXT("/"))) {
        greet(&call);
    } else if (same(call.path, TEXT("/echo"))) {
        echo(&call);
    } else if (same(call.path, TEXT("/welcome"))) {
        welcome(&call);
    } else {
        size_t found = LANGUAGES;
        for (size_t i = 0; i < LANGUAGES; i++)
            if (call.path.length == 3 && !__builtin_memcmp(call.path.at + 1, languages[i].code.at, 2)) found = i;
        if (found < LANGUAGES) answer(&call, 200, TEXT("text/plain; charset=utf-8"), languages[found].welcome);
        else answer(&call, 404, TEXT("text/plain"), TEXT("there is nothing here\n"));
    }
    request_drop(request);
}
