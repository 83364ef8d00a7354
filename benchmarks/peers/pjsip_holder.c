/*
 * The application around PJSIP's registration client (pjsip_regc, which pjsua has one of for each account): as little as
 * makes it hold many registrations. One thread, one UDP socket.
 *
 *   pjsip_holder PORT COUNT      registers user1 to userCOUNT of bench.example at 127.0.0.1:PORT; does not end by itself
 *
 * It is linked with the libraries of a wheel that brings no headers, so it declares what it calls, as the reference of
 * PJSIP 2.14 describes it.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define DOMAIN "bench.example"
#define EXPIRES 60
#define AT_ONCE 64 /* registrations that are begun and not yet registered */
#define RETRY 5 /* seconds after which what failed is begun again */
#define RECEIVE_BUFFER (4 << 20)
#define TRANSACTIONS 262143 /* slots of the transaction table; 1023 by itself */

typedef struct {
	char *text;
	long length;
} pj_str_t;

typedef struct {
	long seconds, milliseconds;
} pj_time_val;

typedef struct {
	pj_str_t host;
	int port;
} pjsip_host_port;

typedef struct {
	pj_str_t realm, scheme, username;
	int data_type;
	pj_str_t data;
	char extension[256]; /* AKA, which is not used */
} pjsip_cred_info;

struct pjsip_regc_cbparam {
	void *regc, *token;
	int status, code;
};

typedef void (*pjsip_regc_cb)(struct pjsip_regc_cbparam *);

extern char pj_pool_factory_default_policy[];
extern char pjsip_sip_cfg_var[];
int pj_init(void);
int pjlib_util_init(void);
void pj_log_set_level(int level);
void pj_caching_pool_init(void *pool, const void *policy, size_t kept);
int pjsip_endpt_create(void *factory, const char *name, void **endpoint);
int pjsip_tsx_layer_init_module(void *endpoint);
int pjsip_udp_transport_attach(void *endpoint, long socket, const pjsip_host_port *name, unsigned reads, void **transport);
int pjsip_endpt_handle_events(void *endpoint, const pj_time_val *timeout);
int pjsip_regc_create(void *endpoint, void *token, pjsip_regc_cb done, void **regc);
int pjsip_regc_init(void *regc, const pj_str_t *server, const pj_str_t *from, const pj_str_t *to, int contacts,
		    const pj_str_t contact[], uint32_t expires);
int pjsip_regc_set_credentials(void *regc, int count, const pjsip_cred_info credentials[]);
int pjsip_regc_register(void *regc, int refresh, void **request);
int pjsip_regc_send(void *regc, void *request);

static struct {
	void *regc;
	time_t again; /* when it is begun again; 0: it registers or is registered */
	char begun; /* and not yet registered */
} *held;
static long count, begun, pending, failed;

static pj_str_t string(char *text)
{
	return (pj_str_t){text, (long)strlen(text)};
}

static void check(int status, const char *what)
{
	if (status) {
		fprintf(stderr, "pjsip_holder: %s: %d\n", what, status);
		exit(1);
	}
}

static void overdue(long number)
{
	failed += !held[number].again;
	held[number].again = time(NULL) + RETRY;
}

static void done(struct pjsip_regc_cbparam *result)
{
	long number = (long)(intptr_t)result->token;
	pending -= held[number].begun;
	held[number].begun = 0;
	if (result->status || result->code / 100 != 2)
		overdue(number);
}

static void ask(long number)
{
	void *request;
	pending += !held[number].begun;
	held[number].begun = 1;
	if (pjsip_regc_register(held[number].regc, 1, &request) || pjsip_regc_send(held[number].regc, request)) {
		pending -= held[number].begun;
		held[number].begun = 0;
		overdue(number);
	}
}

static void begin(void *endpoint, long number, int port, int own)
{
	char server[64], address[96], contact[96], user[32], password[32];
	pjsip_cred_info credentials = {.realm = string("*"), .scheme = string("digest")};
	snprintf(server, sizeof server, "sip:127.0.0.1:%d", port);
	snprintf(address, sizeof address, "<sip:user%ld@" DOMAIN ">", number);
	snprintf(contact, sizeof contact, "<sip:user%ld@127.0.0.1:%d>", number, own);
	snprintf(user, sizeof user, "user%ld", number);
	snprintf(password, sizeof password, "secret%ld", number);
	credentials.username = string(user);
	credentials.data = string(password);
	pj_str_t to_server = string(server), of = string(address), at = string(contact);
	check(pjsip_regc_create(endpoint, (void *)(intptr_t)number, done, &held[number].regc), "pjsip_regc_create");
	check(pjsip_regc_init(held[number].regc, &to_server, &of, &of, 1, &at, EXPIRES), "pjsip_regc_init");
	check(pjsip_regc_set_credentials(held[number].regc, 1, &credentials), "pjsip_regc_set_credentials");
	ask(number);
}

/* Its place in the settings differs between versions: it stands before T1, T2, T4 and timer D. */
static void enlarge_transaction_table(void)
{
	static const unsigned known[] = {500, 4000, 5000, 32000};
	for (size_t at = 0; at < 256; at += sizeof(unsigned)) {
		if (!memcmp(pjsip_sip_cfg_var + at + sizeof(unsigned), known, sizeof known)) {
			unsigned slots = TRANSACTIONS;
			memcpy(pjsip_sip_cfg_var + at, &slots, sizeof slots);
			return;
		}
	}
	check(-1, "the transaction table keeps its size");
}

int main(int arguments, char **argument)
{
	static char pool[1 << 16];
	void *endpoint, *transport;
	if (arguments != 3)
		return 2;
	int port = atoi(argument[1]), size = RECEIVE_BUFFER, udp = socket(AF_INET, SOCK_DGRAM, 0);
	count = atol(argument[2]);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof address;
	check(bind(udp, (struct sockaddr *)&address, length), "bind");
	getsockname(udp, (struct sockaddr *)&address, &length);
	setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	int own = ntohs(address.sin_port);

	pj_log_set_level(0);
	check(pj_init(), "pj_init");
	pj_log_set_level(0);
	check(pjlib_util_init(), "pjlib_util_init");
	enlarge_transaction_table();
	pj_caching_pool_init(pool, pj_pool_factory_default_policy, 0);
	check(pjsip_endpt_create(pool, "bench", &endpoint), "pjsip_endpt_create");
	check(pjsip_tsx_layer_init_module(endpoint), "pjsip_tsx_layer_init_module");
	pjsip_host_port name = {string("127.0.0.1"), own};
	check(pjsip_udp_transport_attach(endpoint, udp, &name, 1, &transport), "pjsip_udp_transport_attach");

	held = calloc((size_t)count + 1, sizeof *held);
	if (!held)
		check(-1, "out of memory");
	for (time_t looked = 0;;) {
		const pj_time_val at_most = {0, 100};
		while (begun < count && pending < AT_ONCE)
			begin(endpoint, ++begun, port, own);
		pjsip_endpt_handle_events(endpoint, &at_most);
		time_t now = time(NULL);
		if (!failed || now == looked)
			continue;
		looked = now;
		for (long number = 1; number <= begun && pending < AT_ONCE; number++) {
			if (held[number].again && held[number].again <= now) {
				held[number].again = 0;
				failed--;
				ask(number);
			}
		}
	}
}
