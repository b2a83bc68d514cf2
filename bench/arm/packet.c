/* Does so many times what a packet of 1,200 bytes asks of the processor besides SCTP; .ci/arm counts it:
 * packet CIPHER|crc|crc-table|gso|single TIMES */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/evp.h>
#include "checksum.h"
#include "udp.h"

#define RECORD 1163 /* bytes of an SCTP packet in a datagram of 1,200 */
#define DATAGRAM 1200
#define BATCH 20 /* datagrams of one turn, as a message of 24 KiB has */

/* Send them to a socket that nobody reads: it is the sender's side of a call that counts. */
static int send_all(int n, int gso) {
    static uint8_t data[BATCH * DATAGRAM];
    uint16_t lengths[BATCH];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int sink = socket(AF_INET, SOCK_DGRAM, 0), source = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(sink, (struct sockaddr *)&address, length) || getsockname(sink, (struct sockaddr *)&address, &length))
        return 1;
    for (int i = 0; i < BATCH; i++)
        lengths[i] = DATAGRAM;
    for (; n > 0; n -= BATCH)
        if (udp_send(source, data, lengths, BATCH, (struct sockaddr *)&address, length, gso) != BATCH)
            return 1;
    return 0;
}

int main(int argc, char **argv) {
    static unsigned char in[RECORD], out[RECORD + 64], tag[16], key[32], nonce[12], head[13];
    int n = argc > 2 ? atoi(argv[2]) : 0, size;
    if (strcmp(argv[1], "gso") == 0 || strcmp(argv[1], "single") == 0)
        return send_all(n, argv[1][0] == 'g');
    memset(in, 7, sizeof in);
    if (strncmp(argv[1], "crc", 3) == 0) {
        sctp_crc32c_init();
        if (strcmp(argv[1], "crc-table") == 0)
            sctp_crc32c_update = sctp_crc32c_by_table;
        uint32_t sum = 0;
        while (n--)
            sum ^= sctp_packet_checksum(in, sizeof in);
        return sum == 1;
    }
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, argv[1], NULL);
    EVP_EncryptInit_ex2(context, cipher, key, nonce, NULL);
    while (n--) {
        nonce[0]++;
        EVP_EncryptInit_ex2(context, NULL, NULL, nonce, NULL);
        EVP_EncryptUpdate(context, NULL, &size, head, sizeof head);
        EVP_EncryptUpdate(context, out, &size, in, sizeof in);
        EVP_EncryptFinal_ex(context, out + size, &size);
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, tag);
    }
    return 0;
}
