/* Text under construction, and MD5. */
#include "quick.h"

void add_str(Text *text, PyObject *value)
{
    if (!is_ascii(value))
        text->overflown = true;
    else
        add(text, (const char *)PyUnicode_1BYTE_DATA(value), (size_t)PyUnicode_GET_LENGTH(value));
}

void add_bytes(Text *text, PyObject *value)
{
    if (value == NULL || !PyBytes_CheckExact(value))
        text->overflown = true;
    else
        add(text, PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value));
}

void add_decimal(Text *text, long long value)
{
    char digits[24];
    size_t at = sizeof digits;
    unsigned long long rest = (unsigned long long)value;
    if (value < 0) {
        text->overflown = true;
        return;
    }
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    add(text, digits + at, sizeof digits - at);
}

void add_hex(Text *text, uint64_t value, int width)
{
    char digits[16];
    int at = 16;
    do {
        digits[--at] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value || 16 - at < width);
    add(text, digits + at, (size_t)(16 - at));
}

/* RFC 1321 §3.4. */
static const uint32_t sines[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

static inline uint32_t rotated(uint32_t value, int by) { return value << by | value >> (32 - by); }

/* Four steps of a round: `mix` is its function, the words are `start`, `start + stride`, ... */
#define STEP(mix, a, b, c, d, i, word, by) a = b + rotated(a + mix(b, c, d) + sines[i] + words[(word) % 16], by);
#define FOUR(mix, i, start, stride, first, second, third, fourth)                                                      \
    STEP(mix, a, b, c, d, i, start, first)                                                                             \
    STEP(mix, d, a, b, c, i + 1, start + stride, second)                                                               \
    STEP(mix, c, d, a, b, i + 2, start + 2 * stride, third)                                                            \
    STEP(mix, b, c, d, a, i + 3, start + 3 * stride, fourth)
#define ROUND(mix, i, start, stride, first, second, third, fourth)                                                     \
    FOUR(mix, i, start, stride, first, second, third, fourth)                                                          \
    FOUR(mix, i + 4, start + 4 * stride, stride, first, second, third, fourth)                                         \
    FOUR(mix, i + 8, start + 8 * stride, stride, first, second, third, fourth)                                         \
    FOUR(mix, i + 12, start + 12 * stride, stride, first, second, third, fourth)
#define F(x, y, z) ((x & y) | (~x & z))
#define G(x, y, z) ((x & z) | (y & ~z))
#define H(x, y, z) (x ^ y ^ z)
#define I(x, y, z) (y ^ (x | ~z))

static void md5_block(uint32_t state[4], const unsigned char *block)
{
    uint32_t words[16], a = state[0], b = state[1], c = state[2], d = state[3];
    for (int i = 0; i < 16; i++)
        words[i] = (uint32_t)block[4 * i] | (uint32_t)block[4 * i + 1] << 8 | (uint32_t)block[4 * i + 2] << 16 |
                   (uint32_t)block[4 * i + 3] << 24;
    ROUND(F, 0, 0, 1, 7, 12, 17, 22)
    ROUND(G, 16, 1, 5, 5, 9, 14, 20)
    ROUND(H, 32, 5, 3, 4, 11, 16, 23)
    ROUND(I, 48, 0, 7, 6, 10, 15, 21)
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
}

void md5_hex(const char *data, size_t length, char *out)
{
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    unsigned char last[128] = {0};
    size_t whole = length / 64 * 64, rest = length - whole, end = rest < 56 ? 64 : 128;
    uint64_t bits = (uint64_t)length * 8;
    for (size_t at = 0; at < whole; at += 64)
        md5_block(state, (const unsigned char *)data + at);
    memcpy(last, data + whole, rest);
    last[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        last[end - 8 + (size_t)i] = (unsigned char)(bits >> 8 * i);
    for (size_t at = 0; at < end; at += 64)
        md5_block(state, last + at);
    for (int i = 0; i < 16; i++) {
        unsigned char octet = (unsigned char)(state[i / 4] >> 8 * (i % 4));
        out[2 * i] = "0123456789abcdef"[octet >> 4];
        out[2 * i + 1] = "0123456789abcdef"[octet & 15];
    }
}
