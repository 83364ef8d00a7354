/*
 * A minimal SIP registrar for benchmarks: one thread, one UDP socket on 127.0.0.1, datagrams in batches.
 *
 * A REGISTER without Authorization is challenged (MD5, qop="auth"), one with Authorization is accepted;
 * the digest is not computed, so that the measured side and not this one is the limit.
 *
 *   responder [--port P] [--expires SECONDS] [--core N]      port 0 or none: the kernel chooses
 *
 * Prints {"port":P} when it listens. SIGUSR1 turns an outage (nothing is answered) on and off,
 * SIGUSR2 prints one JSON line of counters, SIGTERM and SIGINT print it and end. SIGHUP begins a phase: what was
 * accepted, how long it took and how long no datagram came are counted from there too.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/sock_diag.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 64
#define MAXIMUM_DATAGRAM 4096
#define MAXIMUM_VIAS 8
#define RECEIVE_BUFFER (64 << 20)

struct text {
	const char *start;
	size_t length;
};

struct request {
	struct text method, branch, from, to, aor, call_id, cseq, contact;
	struct text vias[MAXIMUM_VIAS];
	size_t via_count;
	long expires; /* -1: none given */
	bool authorized;
	bool all_contacts; /* Contact: * */
};

/* One address-of-record, known by a hash of its URI; key 0 is a free slot. */
struct binding {
	uint64_t key;
	uint64_t last_branch;
	double expires_at;
	uint32_t phase; /* in which it was last accepted */
	bool active;
	bool seen; /* accepted at least once */
};

static struct {
	uint64_t received, requests, challenged, accepted, distinct, refreshes, retransmissions, lapsed;
	uint64_t deregistered, unanswered, malformed, keepalives, others;
	double first_request, first_accepted, last_accepted;
} counters;

/* What was seen since the last SIGHUP. */
static struct {
	uint32_t number;
	uint64_t renewed; /* bindings accepted at least once */
	double first_request, last_renewed, last_received, longest_silence;
} phase = {.number = 1};

static struct binding *bindings;
static size_t slots = 1 << 16, used;
static uint64_t challenges;
static long granted = 3600;
static bool outage;
static int udp;

static volatile sig_atomic_t toggle_asked, report_asked, end_asked, phase_asked;

static double monotonic(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t hash(struct text text)
{
	uint64_t value = 14695981039346656037u; /* FNV-1a */
	for (size_t i = 0; i < text.length; i++)
		value = (value ^ (unsigned char)text.start[i]) * 1099511628211u;
	value ^= value >> 29;
	return value ? value : 1;
}

static struct binding *slot_of(struct binding *table, size_t size, uint64_t key)
{
	size_t at = (size_t)(key * 0x9E3779B97F4A7C15u >> 20) & (size - 1);
	while (table[at].key && table[at].key != key)
		at = (at + 1) & (size - 1);
	return &table[at];
}

static struct binding *binding_of(struct text aor)
{
	uint64_t key = hash(aor);
	struct binding *found = slot_of(bindings, slots, key);
	if (found->key)
		return found;
	if (2 * ++used > slots) {
		struct binding *larger = calloc(2 * slots, sizeof *larger);
		if (!larger) {
			perror("responder: out of memory");
			exit(1);
		}
		for (size_t i = 0; i < slots; i++)
			if (bindings[i].key)
				*slot_of(larger, 2 * slots, bindings[i].key) = bindings[i];
		free(bindings);
		bindings = larger;
		slots *= 2;
		found = slot_of(bindings, slots, key);
	}
	found->key = key;
	return found;
}

static bool is_named(struct text name, const char *full, char compact)
{
	if (name.length == 1)
		return compact && (name.start[0] | 0x20) == compact;
	return name.length == strlen(full) && !strncasecmp(name.start, full, name.length);
}

static struct text trimmed(const char *start, const char *end)
{
	while (start < end && (*start == ' ' || *start == '\t'))
		start++;
	while (end > start && (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
		end--;
	return (struct text){start, (size_t)(end - start)};
}

/* The value of ;name= in a header; length 0 when it is not there. */
static struct text parameter(struct text value, const char *name)
{
	size_t length = strlen(name);
	const char *end = value.start + value.length;
	for (const char *at = value.start; (at = memchr(at, ';', (size_t)(end - at))); at++) {
		if ((size_t)(end - at) < length + 2 || strncasecmp(at + 1, name, length) || at[length + 1] != '=')
			continue;
		const char *from = at + length + 2, *to = from;
		while (to < end && !strchr(";, \t>", *to))
			to++;
		return (struct text){from, (size_t)(to - from)};
	}
	return (struct text){value.start, 0};
}

static struct text uri_of(struct text value)
{
	const char *open = memchr(value.start, '<', value.length);
	if (open) {
		size_t left = value.length - (size_t)(open + 1 - value.start);
		const char *close = memchr(open, '>', left + 1);
		if (close)
			return (struct text){open + 1, (size_t)(close - open - 1)};
	}
	const char *semicolon = memchr(value.start, ';', value.length);
	if (semicolon)
		value.length = (size_t)(semicolon - value.start);
	return value;
}

static long grant(const struct request *request)
{
	return request->expires > 0 && request->expires < granted ? request->expires : granted;
}

/* The text must end with a NUL byte after `size` bytes. False when a header a response needs is missing. */
static bool parse(const char *data, size_t size, struct request *request)
{
	const char *end = data + size, *space = memchr(data, ' ', size);
	*request = (struct request){.expires = -1};
	if (!space)
		return false;
	request->method = (struct text){data, (size_t)(space - data)};
	const char *line = memchr(space, '\n', (size_t)(end - space));
	for (line = line ? line + 1 : end; line < end && *line != '\r' && *line != '\n';) {
		const char *stop = memchr(line, '\n', (size_t)(end - line));
		if (!stop)
			stop = end;
		const char *colon = memchr(line, ':', (size_t)(stop - line));
		if (!colon)
			return false;
		struct text name = trimmed(line, colon), value = trimmed(colon + 1, stop);
		if (is_named(name, "Via", 'v') && request->via_count < MAXIMUM_VIAS)
			request->vias[request->via_count++] = value;
		else if (is_named(name, "From", 'f'))
			request->from = value;
		else if (is_named(name, "To", 't'))
			request->to = value;
		else if (is_named(name, "Call-ID", 'i'))
			request->call_id = value;
		else if (is_named(name, "CSeq", 0))
			request->cseq = value;
		else if (is_named(name, "Contact", 'm') && !request->contact.length)
			request->contact = value;
		else if (is_named(name, "Expires", 0))
			request->expires = strtol(value.start, NULL, 10);
		else if (is_named(name, "Authorization", 0))
			request->authorized = true;
		line = stop + 1;
	}
	if (!request->via_count || !request->from.length || !request->to.length || !request->call_id.length ||
	    !request->cseq.length)
		return false;
	request->branch = parameter(request->vias[0], "branch");
	request->aor = uri_of(request->to);
	if (request->contact.length) {
		request->all_contacts = request->contact.start[0] == '*';
		const char *bracket = memchr(request->contact.start, '>', request->contact.length);
		const char *after = bracket ? bracket : request->contact.start;
		size_t left = request->contact.length - (size_t)(after - request->contact.start);
		struct text expires = parameter((struct text){after, left}, "expires");
		if (expires.length)
			request->expires = strtol(expires.start, NULL, 10);
	}
	return request->branch.length > 0;
}

struct answer {
	char *at, *end;
};

static void put(struct answer *answer, const char *start, size_t length)
{
	if ((size_t)(answer->end - answer->at) < length)
		length = (size_t)(answer->end - answer->at);
	memcpy(answer->at, start, length);
	answer->at += length;
}

static void put_string(struct answer *answer, const char *string)
{
	put(answer, string, strlen(string));
}

static void put_header(struct answer *answer, const char *name, struct text value)
{
	put_string(answer, name);
	put(answer, value.start, value.length);
}

/* RFC 3261 section 18.2.1 and RFC 3581: the top Via tells the client where its request came from. */
static void put_vias(struct answer *answer, const struct request *request, const struct sockaddr_in *source)
{
	char address[INET_ADDRSTRLEN], number[48];
	inet_ntop(AF_INET, &source->sin_addr, address, sizeof address);
	struct text top = request->vias[0];
	const char *end = top.start + top.length, *rport = memmem(top.start, top.length, ";rport", 6);
	put_string(answer, "\r\nVia: ");
	if (rport && (rport + 6 == end || rport[6] == ';' || rport[6] == ',')) {
		put(answer, top.start, (size_t)(rport + 6 - top.start));
		snprintf(number, sizeof number, "=%u;received=%s", ntohs(source->sin_port), address);
		put_string(answer, number);
		put(answer, rport + 6, (size_t)(end - rport - 6));
	} else {
		put(answer, top.start, top.length);
	}
	for (size_t i = 1; i < request->via_count; i++)
		put_header(answer, "\r\nVia: ", request->vias[i]);
}

static void accept_registration(struct binding *binding, const struct request *request, double now)
{
	counters.accepted++;
	if (!counters.first_accepted)
		counters.first_accepted = now;
	counters.last_accepted = now;
	if (binding->active && binding->expires_at < now) {
		counters.lapsed++;
		binding->active = false;
	}
	if (request->expires == 0) {
		counters.deregistered += binding->active;
		binding->active = false;
		return;
	}
	if (!binding->seen) {
		binding->seen = true;
		counters.distinct++;
	} else if (binding->active) {
		counters.refreshes++;
	}
	binding->active = true;
	binding->expires_at = now + (double)grant(request);
	if (binding->phase != phase.number) {
		binding->phase = phase.number;
		phase.renewed++;
		phase.last_renewed = now;
	}
}

/* Writes the response into `answer`; returns its length, 0 for none. */
static size_t respond(const char *data, size_t size, const struct sockaddr_in *source, char *buffer, double now)
{
	struct request request;
	char line[160];
	counters.received++;
	if (size <= 4 && strspn(data, "\r\n") == size) {
		counters.keepalives++;
		return 0;
	}
	if (outage) {
		counters.unanswered++;
		return 0;
	}
	if (!parse(data, size, &request)) {
		counters.malformed++;
		return 0;
	}
	struct answer answer = {buffer, buffer + MAXIMUM_DATAGRAM};
	bool is_register = is_named(request.method, "REGISTER", 0);
	bool challenge = is_register && !request.authorized;
	if (!is_register)
		counters.others++;
	put_string(&answer, challenge ? "SIP/2.0 401 Unauthorized" : "SIP/2.0 200 OK");
	put_vias(&answer, &request, source);
	put_header(&answer, "\r\nFrom: ", request.from);
	put_header(&answer, "\r\nTo: ", request.to);
	if (!parameter(request.to, "tag").length)
		put_string(&answer, ";tag=r");
	put_header(&answer, "\r\nCall-ID: ", request.call_id);
	put_header(&answer, "\r\nCSeq: ", request.cseq);
	if (is_register) {
		struct binding *binding = binding_of(request.aor);
		uint64_t branch = hash(request.branch);
		bool again = binding->last_branch == branch;
		binding->last_branch = branch;
		counters.requests++;
		if (!counters.first_request)
			counters.first_request = now;
		if (!phase.first_request)
			phase.first_request = now;
		if (again)
			counters.retransmissions++;
		else if (challenge)
			counters.challenged++;
		else
			accept_registration(binding, &request, now);
		if (challenge) {
			snprintf(line, sizeof line,
				 "\r\nWWW-Authenticate: Digest realm=\"benchmark\", nonce=\"%016llx\", algorithm=MD5, qop=\"auth\"",
				 (unsigned long long)++challenges * 0x9E3779B97F4A7C15u);
			put_string(&answer, line);
		} else if (request.contact.length && !request.all_contacts && request.expires != 0) {
			/* a bracketed contact keeps its parameters, but for an expires of its own */
			const char *close = memchr(request.contact.start, '>', request.contact.length);
			put_string(&answer, "\r\nContact: ");
			if (close) {
				put(&answer, request.contact.start, (size_t)(close + 1 - request.contact.start));
			} else {
				struct text uri = uri_of(request.contact);
				put(&answer, uri.start, uri.length);
			}
			snprintf(line, sizeof line, ";expires=%ld", grant(&request));
			put_string(&answer, line);
		}
	}
	put_string(&answer, "\r\nContent-Length: 0\r\n\r\n");
	return (size_t)(answer.at - buffer);
}

static void report(void)
{
	uint32_t memory[SK_MEMINFO_VARS] = {0};
	socklen_t length = sizeof memory;
	uint64_t active = 0, overdue = 0;
	double now = monotonic();
	for (size_t i = 0; i < slots; i++) {
		active += bindings[i].active && bindings[i].expires_at >= now;
		overdue += bindings[i].active && bindings[i].expires_at < now;
	}
	getsockopt(udp, SOL_SOCKET, SO_MEMINFO, memory, &length);
	printf("{\"received\":%llu,\"requests\":%llu,\"challenged\":%llu,\"accepted\":%llu,\"distinct\":%llu,",
	       (unsigned long long)counters.received, (unsigned long long)counters.requests,
	       (unsigned long long)counters.challenged, (unsigned long long)counters.accepted,
	       (unsigned long long)counters.distinct);
	printf("\"refreshes\":%llu,\"retransmissions\":%llu,\"deregistered\":%llu,\"active\":%llu,\"lapsed\":%llu,",
	       (unsigned long long)counters.refreshes, (unsigned long long)counters.retransmissions,
	       (unsigned long long)counters.deregistered, (unsigned long long)active,
	       (unsigned long long)(counters.lapsed + overdue));
	printf("\"unanswered\":%llu,\"malformed\":%llu,\"keepalives\":%llu,\"others\":%llu,\"dropped\":%lu,",
	       (unsigned long long)counters.unanswered, (unsigned long long)counters.malformed,
	       (unsigned long long)counters.keepalives, (unsigned long long)counters.others,
	       (unsigned long)memory[SK_MEMINFO_DROPS]);
	printf("\"phase\":{\"renewed\":%llu,\"first_request\":%.6f,\"last_renewed\":%.6f,\"longest_silence\":%.6f},",
	       (unsigned long long)phase.renewed, phase.first_request, phase.last_renewed, phase.longest_silence);
	printf("\"outage\":%s,\"first_request\":%.6f,\"first_accepted\":%.6f,\"last_accepted\":%.6f,\"now\":%.6f}\n",
	       outage ? "true" : "false", counters.first_request, counters.first_accepted, counters.last_accepted, now);
	fflush(stdout);
}

static void begin_phase(void)
{
	uint32_t number = phase.number + 1;
	memset(&phase, 0, sizeof phase);
	phase.number = number;
}

static void on_signal(int number)
{
	if (number == SIGUSR1)
		toggle_asked = !toggle_asked;
	else if (number == SIGUSR2)
		report_asked = 1;
	else if (number == SIGHUP)
		phase_asked = 1;
	else
		end_asked = 1;
}

static int open_socket(uint16_t port)
{
	int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = RECEIVE_BUFFER;
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t length = sizeof address;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&address, length)) {
		perror("responder: cannot open the port");
		exit(1);
	}
	if (setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size))
		setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	if (setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size))
		setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	getsockname(descriptor, (struct sockaddr *)&address, &length);
	printf("{\"port\":%u}\n", ntohs(address.sin_port));
	fflush(stdout);
	return descriptor;
}

static void send_all(struct mmsghdr *messages, unsigned count)
{
	for (unsigned sent = 0; sent < count;) {
		int done = sendmmsg(udp, messages + sent, count - sent, 0);
		if (done > 0) {
			sent += (unsigned)done;
		} else if (errno == EAGAIN) {
			struct pollfd wait = {.fd = udp, .events = POLLOUT};
			poll(&wait, 1, 100);
		} else {
			sent++; /* a client that is gone answers with ICMP; skip its datagram */
		}
	}
}

static void serve(void)
{
	static char in[BATCH][MAXIMUM_DATAGRAM + 1], out[BATCH][MAXIMUM_DATAGRAM];
	static struct sockaddr_in sources[BATCH];
	struct iovec in_parts[BATCH], out_parts[BATCH];
	struct mmsghdr received[BATCH], answers[BATCH];
	struct pollfd wait = {.fd = udp, .events = POLLIN};
	const struct timespec at_once = {0, 0};
	sigset_t nothing_blocked;
	sigemptyset(&nothing_blocked);
	memset(received, 0, sizeof received);
	memset(answers, 0, sizeof answers);
	for (int i = 0; i < BATCH; i++) {
		in_parts[i] = (struct iovec){in[i], MAXIMUM_DATAGRAM};
		received[i].msg_hdr = (struct msghdr){.msg_name = &sources[i], .msg_iov = &in_parts[i], .msg_iovlen = 1};
	}
	for (unsigned round = 0;; round++) {
		for (int i = 0; i < BATCH; i++)
			received[i].msg_hdr.msg_namelen = sizeof sources[i];
		int count = recvmmsg(udp, received, BATCH, MSG_DONTWAIT, NULL);
		/* signals are delivered only here: when nothing is to do, and now and then under load */
		if (count <= 0 || round % 256 == 0) {
			ppoll(&wait, 1, count <= 0 ? NULL : &at_once, &nothing_blocked);
			if (toggle_asked) {
				toggle_asked = 0;
				outage = !outage;
			}
			if (phase_asked) {
				phase_asked = 0;
				begin_phase();
			}
			if (report_asked) {
				report_asked = 0;
				report();
			}
			if (end_asked) {
				report();
				return;
			}
		}
		unsigned answered = 0;
		double now = count > 0 ? monotonic() : 0;
		if (count > 0) {
			if (phase.first_request && now - phase.last_received > phase.longest_silence)
				phase.longest_silence = now - phase.last_received;
			phase.last_received = now;
		}
		for (int i = 0; i < count; i++) {
			in[i][received[i].msg_len] = 0;
			size_t length = respond(in[i], received[i].msg_len, &sources[i], out[answered], now);
			if (!length)
				continue;
			out_parts[answered] = (struct iovec){out[answered], length};
			answers[answered].msg_hdr = (struct msghdr){.msg_name = &sources[i],
								    .msg_namelen = sizeof sources[i],
								    .msg_iov = &out_parts[answered],
								    .msg_iovlen = 1};
			answered++;
		}
		send_all(answers, answered);
	}
}

int main(int count, char **arguments)
{
	static const struct option options[] = {
		{"port", required_argument, NULL, 'p'},
		{"expires", required_argument, NULL, 'e'},
		{"core", required_argument, NULL, 'c'},
		{NULL, 0, NULL, 0},
	};
	long port = 0, core = -1;
	for (int option; (option = getopt_long(count, arguments, "", options, NULL)) != -1;) {
		if (option == 'p')
			port = strtol(optarg, NULL, 10);
		else if (option == 'e')
			granted = strtol(optarg, NULL, 10);
		else if (option == 'c')
			core = strtol(optarg, NULL, 10);
		else
			return 2;
	}
	if (port < 0 || port > 65535 || granted < 1) {
		fprintf(stderr, "responder: --port is 0 to 65535, --expires at least 1\n");
		return 2;
	}
	if (core >= 0) {
		cpu_set_t cores;
		CPU_ZERO(&cores);
		CPU_SET((size_t)core, &cores);
		if (sched_setaffinity(0, sizeof cores, &cores)) {
			perror("responder: cannot pin itself to the core");
			return 1;
		}
	}
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t blocked;
	sigemptyset(&blocked);
	const int signals[] = {SIGUSR1, SIGUSR2, SIGHUP, SIGTERM, SIGINT};
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
		sigaction(signals[i], &action, NULL);
		sigaddset(&blocked, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	bindings = calloc(slots, sizeof *bindings);
	if (!bindings) {
		perror("responder: out of memory");
		return 1;
	}
	udp = open_socket((uint16_t)port);
	serve();
	return 0;
}
