"""How long a request's first line and headers may be: one limit that nginx sets and the programs behind it accept."""

# nginx keeps each line in one of these, and as many as fit. In HTTP/2 it ends the whole connection for a longer one,
# and so these hold more than a program gets.
BUFFERS, BUFFER_BYTES = 2, 48 << 10
# What nginx sends to uWSGI and Gunicorn has the query twice. It refuses by itself what doesn't fit into a packet.
PACKET_BYTES = 65535
# A redirect may quote a query, three bytes for each, and there are other headers.
ANSWER_BYTES = 3 * PACKET_BYTES // 2 + (14 << 10)
# The shortest of a packet's variables is HTTP_A without a value, with its lengths: ten bytes.
VARIABLES = PACKET_BYTES // 10
# The shortest header of HTTP/2 has one byte, and as HTTP/1.1, for Daphne, five. nginx adds its own.
HTTP_HEADERS = BUFFERS * BUFFER_BYTES + 100
HTTP_BYTES = 5 * HTTP_HEADERS + (8 << 10)
