# What is done for each packet of media, and so is compiled.
"""SRTP (RFC 3711, RFC 7714) by OpenSSL's ciphers: a :class:`Srtp` has the keys of one direction."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset


cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_CIPHER
    ctypedef struct EVP_MD
    enum:
        EVP_CTRL_GCM_SET_TAG
        EVP_CTRL_GCM_GET_TAG
    EVP_CIPHER_CTX* EVP_CIPHER_CTX_new()
    void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX*)
    int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX*, int, int, void*)
    const EVP_CIPHER* EVP_aes_128_ctr()
    const EVP_CIPHER* EVP_aes_128_gcm()
    int EVP_CipherInit_ex(
        EVP_CIPHER_CTX*, const EVP_CIPHER*, void*, const uint8_t*, const uint8_t*, int
    )
    int EVP_CipherUpdate(EVP_CIPHER_CTX*, uint8_t*, int*, const uint8_t*, int)
    int EVP_CipherFinal_ex(EVP_CIPHER_CTX*, uint8_t*, int*)
    const EVP_MD* EVP_sha1()


cdef extern from "<openssl/hmac.h>" nogil:
    uint8_t* HMAC(
        const EVP_MD*, const void*, int, const uint8_t*, size_t, uint8_t*, unsigned int*
    )


cdef extern from "<openssl/crypto.h>" nogil:
    int CRYPTO_memcmp(const void*, const void*, size_t)


PROFILES = {"SRTP_AEAD_AES_128_GCM": (16, 12), "SRTP_AES128_CM_SHA1_80": (16, 14)}
"""Bytes of the master key and of the master salt, by OpenSSL's names, best first."""

cdef enum:
    HMAC_TAG = 10
    INDEX = 4                   # bytes of SRTCP's index
    LONGEST = 1_500             # bytes of a datagram of the peer's
    MAX_STREAMS = 8             # senders of the peer's


cdef class _Received:
    """What was received of one sender (RFC 3711 sections 3.3.1 and 3.3.2)."""

    cdef uint64_t guess(self, uint32_t sequence) noexcept:
        cdef uint64_t turn = self.newest >> 16
        cdef uint32_t last = <uint32_t>(self.newest & 0xFFFF)
        if last < 0x8000:
            if sequence > last + 0x8000 and turn > 0:
                turn -= 1
        elif sequence < last - 0x8000:
            turn += 1
        return turn << 16 | sequence

    cdef bint is_new(self, uint64_t index) noexcept:
        if index > self.newest:
            return True
        return self.newest - index < 64 and not self.window >> (self.newest - index) & 1

    cdef void note(self, uint64_t index) noexcept:
        cdef uint64_t step
        if index > self.newest:
            step = index - self.newest
            self.window = 1 if step >= 64 else self.window << step | 1
            self.newest = index
        else:
            self.window |= <uint64_t>1 << (self.newest - index)


cdef class _Keys:
    """The session keys of RTP, or of RTCP."""

    def __dealloc__(self):
        EVP_CIPHER_CTX_free(self.cipher)


cdef class Srtp:
    """The keys of one direction.

    :param profile: one of ``PROFILES``.
    :param key: the master key, and ``salt`` the master salt.
    :param sending: whether it protects; else it opens.

    Raises ValueError for another profile, or keys of another length.
    """

    def __init__(self, str profile not None, bytes key not None, bytes salt not None,
                 bint sending):
        if (len(key), len(salt)) != PROFILES.get(profile):
            raise ValueError(f"no keys of {profile}")
        self._gcm = profile == "SRTP_AEAD_AES_128_GCM"
        self._sending = sending
        self._received = {}
        self._rtp = self._derive(key, salt, 0)
        self._rtcp = self._derive(key, salt, 3)

    cdef _Keys _derive(self, bytes key, bytes salt, int label):
        # RFC 3711 section 4.3: labels 0 to 2 are RTP's, 3 to 5 RTCP's. Salts of GCM are two bytes
        # shorter, and zeros take their place (RFC 7714 section 11).
        cdef _Keys keys = _Keys()
        cdef uint8_t session[16]
        cdef uint8_t master[14]
        cdef const uint8_t* secret = <const uint8_t*>PyBytes_AS_STRING(key)
        cdef const EVP_CIPHER* method = EVP_aes_128_gcm() if self._gcm else EVP_aes_128_ctr()
        memset(master, 0, 14)
        memcpy(master, <const uint8_t*>PyBytes_AS_STRING(salt), <size_t>PyBytes_GET_SIZE(salt))
        _pseudorandom(secret, master, label, session, 16)
        _pseudorandom(secret, master, label + 1, keys.secret, 20)
        _pseudorandom(secret, master, label + 2, keys.salt, 14)
        keys.cipher = EVP_CIPHER_CTX_new()
        if keys.cipher == NULL or EVP_CipherInit_ex(
            keys.cipher, method, NULL, session, NULL, self._sending
        ) != 1:
            raise MemoryError
        return keys

    # -- one packet ------------------------------------------------------------------------------

    cdef int _transform(
        self, _Keys keys, uint32_t ssrc, uint64_t index, const uint8_t* associated,
        size_t associated_length, const uint8_t* more, uint8_t* data, size_t length, uint8_t* tag,
    ) except -1:
        # Encrypt or decrypt in place; False if the tag is wrong. `more` are four more bytes of
        # associated data, or NULL.
        cdef uint8_t vector[16]
        cdef int done = 0, number
        memset(vector, 0, 16)
        if self._gcm:
            # RFC 7714 sections 8.1 and 9.1: of both the index is 48 bits, SRTCP's with zeros first.
            put32(vector + 2, ssrc)
            put16(vector + 6, <uint32_t>(index >> 32))
            put32(vector + 8, <uint32_t>index)
            for number in range(12):
                vector[number] ^= keys.salt[number]
        else:
            # RFC 3711 section 4.1.1.
            put32(vector + 4, ssrc)
            put16(vector + 8, <uint32_t>(index >> 32))
            put32(vector + 10, <uint32_t>index)
            for number in range(14):
                vector[number] ^= keys.salt[number]
        if EVP_CipherInit_ex(keys.cipher, NULL, NULL, NULL, vector, -1) != 1:
            raise RuntimeError("OpenSSL takes no vector")
        if not self._gcm:
            return EVP_CipherUpdate(keys.cipher, data, &done, data, <int>length) == 1
        if not self._sending:
            EVP_CIPHER_CTX_ctrl(keys.cipher, EVP_CTRL_GCM_SET_TAG, GCM_TAG, tag)
        EVP_CipherUpdate(keys.cipher, NULL, &done, associated, <int>associated_length)
        if more != NULL:
            EVP_CipherUpdate(keys.cipher, NULL, &done, more, INDEX)
        if length:
            EVP_CipherUpdate(keys.cipher, data, &done, data, <int>length)
        if EVP_CipherFinal_ex(keys.cipher, data + length, &done) != 1:
            return False
        if self._sending:
            EVP_CIPHER_CTX_ctrl(keys.cipher, EVP_CTRL_GCM_GET_TAG, GCM_TAG, tag)
        return True

    cdef size_t _seal(
        self, uint8_t* packet, size_t header, size_t length, uint32_t ssrc, uint64_t index
    ) except 0:
        cdef uint8_t digest[20]
        self._transform(
            self._rtp, ssrc, index, packet, header, NULL, packet + header, length - header,
            packet + length,
        )
        if self._gcm:
            return length + GCM_TAG
        put32(packet + length, <uint32_t>(index >> 16))
        HMAC(EVP_sha1(), self._rtp.secret, 20, packet, length + 4, digest, NULL)
        memcpy(packet + length, digest, HMAC_TAG)
        return length + HMAC_TAG

    def protect_rtcp(self, bytes packet not None):
        """A compound RTCP packet, protected. Raises ValueError for one that is none."""
        cdef uint8_t data[LONGEST + 64]
        cdef uint8_t digest[20]
        cdef size_t length = <size_t>PyBytes_GET_SIZE(packet)
        cdef uint8_t index[INDEX]
        if not self._sending or not 8 <= length <= LONGEST:
            raise ValueError(f"no RTCP packet to send, of {length} bytes")
        memcpy(data, PyBytes_AS_STRING(packet), length)
        self._index = (self._index + 1) & 0x7FFFFFFF
        put32(index, self._index | 0x80000000)
        self._transform(
            self._rtcp, get32(data + 4), self._index, data, 8, index, data + 8, length - 8,
            data + length,
        )
        if self._gcm:
            memcpy(data + length + GCM_TAG, index, INDEX)
            return data[:length + GCM_TAG + INDEX]
        memcpy(data + length, index, INDEX)
        HMAC(EVP_sha1(), self._rtcp.secret, 20, data, length + INDEX, digest, NULL)
        memcpy(data + length + INDEX, digest, HMAC_TAG)
        return data[:length + INDEX + HMAC_TAG]

    cdef _Received _of(self, bint control, uint32_t ssrc, uint32_t sequence):
        # What was received of a sender; it counts once a packet of it was authentic.
        cdef _Received received = self._received.get((control, ssrc))
        if received is None:
            received = _Received()
            received.newest = sequence
        return received

    cdef int _keep(self, bint control, uint32_t ssrc, _Received received) except -1:
        self._received[control, ssrc] = received
        return 0

    def open_rtp(self, bytes packet not None):
        """An RTP packet of the peer's, opened; None for one that is forged, broken or repeated."""
        cdef uint8_t data[LONGEST + 64]
        cdef size_t length = <size_t>PyBytes_GET_SIZE(packet)
        cdef size_t tag = GCM_TAG if self._gcm else HMAC_TAG
        cdef size_t header
        cdef uint64_t index
        cdef uint32_t ssrc
        cdef _Received received
        if self._sending or not HEADER + tag <= length <= LONGEST:
            return None
        memcpy(data, PyBytes_AS_STRING(packet), length)
        length -= tag
        header = header_length(data, length)
        ssrc = get32(data + 8)
        if header == 0 or (
            (False, ssrc) not in self._received and len(self._received) >= 2 * MAX_STREAMS
        ):
            return None
        received = self._of(False, ssrc, <uint32_t>data[2] << 8 | data[3])
        index = received.guess(<uint32_t>data[2] << 8 | data[3])
        if not received.is_new(index) or not self._open(data, header, length, ssrc, index):
            return None
        received.note(index)
        self._keep(False, ssrc, received)
        return data[:length]

    cdef bint _open(
        self, uint8_t* data, size_t header, size_t length, uint32_t ssrc, uint64_t index
    ) except -1:
        cdef uint8_t digest[20]
        cdef uint8_t sent[HMAC_TAG]
        if not self._gcm:
            memcpy(sent, data + length, HMAC_TAG)
            put32(data + length, <uint32_t>(index >> 16))
            HMAC(EVP_sha1(), self._rtp.secret, 20, data, length + 4, digest, NULL)
            if CRYPTO_memcmp(sent, digest, HMAC_TAG) != 0:
                return False
        return self._transform(
            self._rtp, ssrc, index, data, header, NULL, data + header, length - header,
            data + length,
        )

    def open_rtcp(self, bytes packet not None):
        """A compound RTCP packet of the peer's, opened; None as of :meth:`open_rtp`."""
        cdef uint8_t data[LONGEST + 64]
        cdef uint8_t digest[20]
        cdef uint8_t index_bytes[INDEX]
        cdef size_t length = <size_t>PyBytes_GET_SIZE(packet)
        cdef uint32_t ssrc
        cdef uint64_t index
        cdef _Received received
        if self._sending or not 8 + INDEX + GCM_TAG - 6 <= length <= LONGEST:
            return None
        memcpy(data, PyBytes_AS_STRING(packet), length)
        ssrc = get32(data + 4)
        if self._gcm:
            if length < 8 + GCM_TAG + INDEX:
                return None
            length -= INDEX
            memcpy(index_bytes, data + length, INDEX)
            length -= GCM_TAG
        else:
            length -= HMAC_TAG
            HMAC(EVP_sha1(), self._rtcp.secret, 20, data, length, digest, NULL)
            if CRYPTO_memcmp(data + length, digest, HMAC_TAG) != 0:
                return None
            length -= INDEX
            memcpy(index_bytes, data + length, INDEX)
        if not index_bytes[0] & 0x80:
            return None  # it is not encrypted, which nobody has agreed to
        if (True, ssrc) not in self._received and len(self._received) >= 2 * MAX_STREAMS:
            return None
        index = get32(index_bytes) & 0x7FFFFFFF
        received = self._of(True, ssrc, <uint32_t>index)
        if not received.is_new(index) or not self._transform(
            self._rtcp, ssrc, index, data, 8, index_bytes, data + 8, length - 8, data + length
        ):
            return None
        received.note(index)
        self._keep(True, ssrc, received)
        return data[:length]


cdef int _pseudorandom(
    const uint8_t* key, const uint8_t* salt, int label, uint8_t* out, int length
) except -1:
    # RFC 3711 section 4.3.3.
    cdef uint8_t vector[16]
    cdef int done = 0
    cdef EVP_CIPHER_CTX* cipher = EVP_CIPHER_CTX_new()
    memset(vector, 0, 16)
    memcpy(vector, salt, 14)
    vector[7] ^= <uint8_t>label
    memset(out, 0, <size_t>length)
    try:
        if (
            cipher == NULL
            or EVP_CipherInit_ex(cipher, EVP_aes_128_ctr(), NULL, key, vector, 1) != 1
            or EVP_CipherUpdate(cipher, out, &done, out, length) != 1
        ):
            raise MemoryError
    finally:
        EVP_CIPHER_CTX_free(cipher)
    return 0


cdef size_t header_length(const uint8_t* data, size_t length) noexcept:
    # Bytes of an RTP header, contributors and extension included (RFC 3550 section 5.1); 0: it is
    # none.
    cdef size_t header = HEADER + 4 * (data[0] & 15)
    if data[0] >> 6 != 2 or header > length:
        return 0
    if data[0] & 0x10:
        if header + 4 > length:
            return 0
        header += 4 + 4 * (<size_t>data[header + 2] << 8 | data[header + 3])
    return header if header <= length else 0
