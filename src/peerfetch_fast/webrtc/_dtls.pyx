# Floor 1: DTLS 1.2 by OpenSSL. Datagrams in and out; no socket and no event loop. OpenSSL reads
# its own clock for the timers of the handshake.
"""DTLS over whatever carries datagrams.

OpenSSL's memory BIO is a stream: it joins datagrams, so that garbage takes the good record behind
it along. The BIO here hands over one datagram at a time, in both directions.

This file is longer than others, because its first 130 lines declare what is used of OpenSSL.
"""

from weakref import WeakValueDictionary

from libc.string cimport memcpy
from posix.time cimport timeval


cdef extern from "_dtls.h" nogil:
    bint cpu_has_aes()


cdef extern from "<openssl/evp.h>" nogil:
    ctypedef struct EVP_PKEY
    ctypedef struct EVP_MD
    enum:
        EVP_MAX_MD_SIZE
    const EVP_MD* EVP_sha256()
    const EVP_MD* EVP_sha384()
    const EVP_MD* EVP_sha512()
    void EVP_PKEY_free(EVP_PKEY*)


cdef extern from "<openssl/x509.h>":
    ctypedef struct X509_STORE_CTX
    EVP_PKEY* d2i_AutoPrivateKey(EVP_PKEY**, const unsigned char**, long)
    int X509_digest(const X509*, const EVP_MD*, unsigned char*, unsigned int*)
    void X509_free(X509*)
    X509* X509_STORE_CTX_get0_cert(X509_STORE_CTX*)
    void* X509_STORE_CTX_get_ex_data(X509_STORE_CTX*, int)
    void X509_STORE_CTX_set_error(X509_STORE_CTX*, int)
    enum:
        X509_V_ERR_CERT_REJECTED


cdef extern from "<openssl/bio.h>":
    ctypedef struct BIO
    ctypedef struct BIO_METHOD
    enum:
        BIO_TYPE_SOURCE_SINK
        BIO_CTRL_FLUSH
    BIO_METHOD* BIO_meth_new(int, const char*)
    int BIO_get_new_index()
    int BIO_meth_set_write(BIO_METHOD*, int (*)(BIO*, const char*, int) noexcept)
    int BIO_meth_set_read(BIO_METHOD*, int (*)(BIO*, char*, int) noexcept)
    int BIO_meth_set_ctrl(BIO_METHOD*, long (*)(BIO*, int, long, void*) noexcept)
    BIO* BIO_new(const BIO_METHOD*)
    void BIO_set_data(BIO*, void*)
    void* BIO_get_data(BIO*)
    void BIO_set_init(BIO*, int)
    void BIO_set_retry_read(BIO*)
    void BIO_clear_retry_flags(BIO*)


cdef extern from "<openssl/crypto.h>" nogil:
    const char* OpenSSL_version(int)
    enum: OPENSSL_VERSION

cdef extern from "<openssl/err.h>" nogil:
    void ERR_clear_error()
    unsigned long ERR_get_error()
    const char* ERR_reason_error_string(unsigned long)


cdef extern from "<openssl/ssl.h>":
    ctypedef struct SSL_METHOD
    ctypedef struct SSL_CIPHER
    ctypedef struct SRTP_PROTECTION_PROFILE:
        const char* name
    enum:
        DTLS1_2_VERSION
        SSL_ERROR_WANT_READ
        SSL_ERROR_WANT_WRITE
        SSL_ERROR_ZERO_RETURN
        SSL_VERIFY_PEER
        SSL_VERIFY_FAIL_IF_NO_PEER_CERT
        SSL_SESS_CACHE_OFF
    uint64_t SSL_OP_NO_TICKET
    uint64_t SSL_OP_NO_RENEGOTIATION
    uint64_t SSL_OP_NO_QUERY_MTU
    uint64_t SSL_OP_CIPHER_SERVER_PREFERENCE
    const SSL_METHOD* DTLS_method()
    SSL_CTX* SSL_CTX_new(const SSL_METHOD*)
    void SSL_CTX_free(SSL_CTX*)
    int SSL_CTX_set_min_proto_version(SSL_CTX*, int)
    int SSL_CTX_set_max_proto_version(SSL_CTX*, int)
    void SSL_CTX_set_options(SSL_CTX*, uint64_t)
    void SSL_CTX_set_session_cache_mode(SSL_CTX*, long)
    int SSL_CTX_set_cipher_list(SSL_CTX*, const char*)
    int SSL_CTX_set1_groups_list(SSL_CTX*, const char*)
    int SSL_CTX_set_tlsext_use_srtp(SSL_CTX*, const char*)
    int SSL_CTX_use_certificate_ASN1(SSL_CTX*, int, const unsigned char*)
    int SSL_CTX_use_PrivateKey(SSL_CTX*, EVP_PKEY*)
    void SSL_CTX_set_verify(SSL_CTX*, int, void*)
    void SSL_CTX_set_cert_verify_callback(
        SSL_CTX*, int (*)(X509_STORE_CTX*, void*) noexcept, void*
    )
    int SSL_get_ex_data_X509_STORE_CTX_idx()
    int SSL_set_ex_data(SSL*, int, void*)
    void* SSL_get_ex_data(const SSL*, int)
    SSL* SSL_new(SSL_CTX*)
    void SSL_free(SSL*)
    void SSL_set_bio(SSL*, BIO*, BIO*)
    long SSL_set_mtu(SSL*, long)
    size_t DTLS_get_data_mtu(const SSL*)
    void DTLS_set_timer_cb(SSL*, unsigned int (*)(SSL*, unsigned int) noexcept)
    long DTLSv1_get_timeout(SSL*, timeval*)
    long DTLSv1_handle_timeout(SSL*)
    void SSL_set_accept_state(SSL*)
    void SSL_set_connect_state(SSL*)
    int SSL_do_handshake(SSL*)
    int SSL_has_pending(const SSL*)
    int SSL_read(SSL*, void*, int)
    int SSL_write(SSL*, const void*, int)
    int SSL_shutdown(SSL*)
    int SSL_get_error(const SSL*, int)
    X509* SSL_get1_peer_certificate(const SSL*)
    const SSL_CIPHER* SSL_get_current_cipher(const SSL*)
    const char* SSL_CIPHER_get_name(const SSL_CIPHER*)
    const SRTP_PROTECTION_PROFILE* SSL_get_selected_srtp_profile(SSL*)
    int SSL_export_keying_material(
        SSL*, unsigned char*, size_t, const char*, size_t, const unsigned char*, size_t, int
    )


DATAGRAM_SIZE = 1200
"""Bytes of UDP payload that a record fits into, whatever the path would carry: aiortc falls behind
for good after a record longer than 1,500 bytes and libwebrtc takes no more than 2,048."""

FLIGHT_SIZE = 900
"""Bytes of a handshake that a STUN message carries beside its own attributes, as in libwebrtc."""

cdef enum:
    # Microseconds until a flight is sent again, doubled each time. RFC 6347 section 4.2.4.1 starts
    # at a second, for lack of knowledge of the path; ICE has just shown that it answers.
    FIRST_TIMEOUT = 250_000
    LAST_TIMEOUT = 4_000_000
    # The longest plaintext of a record (RFC 5246 section 6.2.1).
    MAX_PLAINTEXT = 16_384


def ciphers(bint aes_in_hardware):
    """The cipher suites to offer, and as a server to insist on, best first."""
    aes = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
    chacha = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    return f"{aes}:{chacha}" if aes_in_hardware else f"{chacha}:{aes}"


CIPHERS = ciphers(cpu_has_aes())
"""The cipher suites for this processor."""

LIBRARY = OpenSSL_version(OPENSSL_VERSION).decode()
"""The OpenSSL that is loaded, which need not be the one that this was compiled with."""


cdef int bio_write(BIO* bio, const char* data, int length) noexcept:
    cdef Dtls connection = <Dtls>BIO_get_data(bio)
    BIO_clear_retry_flags(bio)
    if length > 0:
        if connection.flight is not None and connection._state == CONNECTING:
            connection._keep(data, length)
        connection._sink.datagram_out(<const uint8_t*>data, <size_t>length)
    return length


cdef int bio_read(BIO* bio, char* buffer, int capacity) noexcept:
    cdef Dtls connection = <Dtls>BIO_get_data(bio)
    cdef size_t length = connection._incoming_length
    BIO_clear_retry_flags(bio)
    if length == 0 or capacity <= 0:
        BIO_set_retry_read(bio)
        return -1
    # `_incoming` is valid during feed() and the read()s that follow: outside of them its length is
    # 0. A part that does not fit is lost, as from a socket; no datagram is longer than OpenSSL's
    # buffer that holds a record which could be authentic.
    if length > <size_t>capacity:
        length = <size_t>capacity
    memcpy(buffer, connection._incoming, length)
    connection._incoming_length = 0
    return <int>length


cdef long bio_ctrl(BIO* bio, int command, long number, void* pointer) noexcept:
    # The size of datagrams is set from above, and the timers are read from there.
    return 1 if command == BIO_CTRL_FLUSH else 0


cdef unsigned int next_timeout(SSL* ssl, unsigned int last) noexcept:
    if last == 0:
        return FIRST_TIMEOUT
    return min(<unsigned int>(2 * last), <unsigned int>LAST_TIMEOUT)


cdef int verify(X509_STORE_CTX* store, void* argument) noexcept:
    # In place of a chain of trust there is the fingerprint from signaling (RFC 8827 section 6.5).
    # Deciding here means that a stranger's handshake does not complete.
    cdef SSL* ssl = <SSL*>X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
    if (<Dtls>SSL_get_ex_data(ssl, 0))._is_expected(X509_STORE_CTX_get0_cert(store)):
        return 1
    X509_STORE_CTX_set_error(store, X509_V_ERR_CERT_REJECTED)
    return 0


cdef BIO_METHOD* new_bio_method() except NULL:
    cdef BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagram")
    if method == NULL:
        raise MemoryError
    BIO_meth_set_write(method, bio_write)
    BIO_meth_set_read(method, bio_read)
    BIO_meth_set_ctrl(method, bio_ctrl)
    return method


cdef BIO_METHOD* bio_method = new_bio_method()


cdef class DatagramSink:
    cdef void datagram_out(self, const uint8_t* data, size_t length) noexcept:
        pass


cdef class ListSink(DatagramSink):
    """Keeps what is to be sent in a list."""

    cdef readonly list datagrams

    def __init__(self):
        self.datagrams = []

    cdef void datagram_out(self, const uint8_t* data, size_t length) noexcept:
        self.datagrams.append(data[:length])


cdef class Context:
    """The OpenSSL context of all connections with a certificate. Made by :func:`shared_context`."""

    def __init__(
        self, bytes certificate not None, bytes private_key not None, str srtp_profiles not None,
        str cipher_list not None,
    ):
        cdef const unsigned char* key_bytes = private_key
        cdef EVP_PKEY* key
        ERR_clear_error()
        self.context = SSL_CTX_new(DTLS_method())
        if self.context == NULL:
            raise MemoryError
        SSL_CTX_set_min_proto_version(self.context, DTLS1_2_VERSION)
        SSL_CTX_set_max_proto_version(self.context, DTLS1_2_VERSION)
        SSL_CTX_set_options(
            self.context,
            SSL_OP_NO_TICKET
            | SSL_OP_NO_RENEGOTIATION
            | SSL_OP_NO_QUERY_MTU
            | SSL_OP_CIPHER_SERVER_PREFERENCE,
        )
        SSL_CTX_set_session_cache_mode(self.context, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_verify(
            self.context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL
        )
        SSL_CTX_set_cert_verify_callback(self.context, verify, NULL)
        if (
            SSL_CTX_set_cipher_list(self.context, cipher_list.encode()) != 1
            or SSL_CTX_set1_groups_list(self.context, "X25519:P-256:P-384") != 1
        ):
            raise ValueError(f"OpenSSL has none of the ciphers {cipher_list}")
        # Alone among OpenSSL's setters, this returns 0 for success.
        if SSL_CTX_set_tlsext_use_srtp(self.context, srtp_profiles.encode()) != 0:
            raise ValueError(f"OpenSSL does not know the SRTP profiles {srtp_profiles}")
        if (
            SSL_CTX_use_certificate_ASN1(self.context, <int>len(certificate), certificate)
            != 1
        ):
            raise ValueError("the certificate cannot be used")
        key = d2i_AutoPrivateKey(NULL, &key_bytes, <long>len(private_key))
        if key == NULL:
            raise ValueError("the private key cannot be used")
        try:
            if SSL_CTX_use_PrivateKey(self.context, key) != 1:
                raise ValueError("the private key is not the certificate's")
        finally:
            EVP_PKEY_free(key)

    def __dealloc__(self):
        SSL_CTX_free(self.context)


_contexts = WeakValueDictionary()


def shared_context(
    bytes certificate not None, bytes private_key not None, str srtp_profiles not None,
    str cipher_list not None = CIPHERS,
):
    """The context that connections of this certificate share.

    OpenSSL takes longer to make it than to make a flight: made before there is a peer, and kept, it
    lets a handshake be answered sooner.

    The parameters, and what is raised, are those of :class:`Dtls`.
    """
    key = (certificate, private_key, srtp_profiles, cipher_list)
    found = _contexts.get(key)
    if found is None:
        found = _contexts[key] = Context(*key)
    return found


cdef class Dtls:
    """One DTLS 1.2 connection.

    :param server: which role; the other side must have the other.
    :param certificate: the own X.509 certificate, DER.
    :param private_key: its key, DER (PKCS #8).
    :param fingerprints: the peer's, ``(algorithm, digest)`` each with an algorithm as in SDP,
        ``"sha-256"``. At least one must be of a known algorithm, and all that are must match.
    :param srtp_profiles: OpenSSL's names of SRTP profiles, joined by colons, offered or accepted.
        A peer that does not want any still connects.
    :param sink: takes the datagrams to send.
    :param cipher_list: OpenSSL's names of the suites to allow, best first.
    :param keep_flight: whether the handshake's datagrams have at most ``FLIGHT_SIZE`` bytes, and
        those that were sent last are kept in :attr:`flight`, until the peer sends application data.
    :ivar flight: the datagrams of the last flight; None: they are not kept.

    Raises ValueError if the certificate, its key or the profiles cannot be used.
    """

    def __cinit__(self):
        self._state = NEW

    def __init__(
        self,
        *,
        bint server,
        bytes certificate not None,
        bytes private_key not None,
        list fingerprints not None,
        str srtp_profiles not None,
        DatagramSink sink not None,
        str cipher_list not None = CIPHERS,
        bint keep_flight = False,
    ):
        cdef BIO* bio
        self.is_server = server
        self._sink = sink
        self._fingerprints = fingerprints
        self.flight = [] if keep_flight else None
        self._context = shared_context(certificate, private_key, srtp_profiles, cipher_list)
        ERR_clear_error()
        self._ssl = SSL_new(self._context.context)
        bio = BIO_new(bio_method)
        if self._ssl == NULL or bio == NULL:
            raise MemoryError
        SSL_set_ex_data(self._ssl, 0, <void*>self)  # for verify()
        BIO_set_data(bio, <void*>self)
        BIO_set_init(bio, 1)
        SSL_set_bio(self._ssl, bio, bio)
        SSL_set_mtu(self._ssl, FLIGHT_SIZE if keep_flight else DATAGRAM_SIZE)
        DTLS_set_timer_cb(self._ssl, next_timeout)
        if server:
            SSL_set_accept_state(self._ssl)
        else:
            SSL_set_connect_state(self._ssl)

    def __dealloc__(self):
        SSL_free(self._ssl)

    @property
    def state(self):
        """``new``, ``connecting``, ``connected``, ``closed`` (by either side) or ``failed``."""
        return ("new", "connecting", "connected", "closed", "failed")[<int>self._state]

    @property
    def cipher(self):
        """OpenSSL's name of the negotiated suite; None before there is one."""
        cdef const SSL_CIPHER* current = SSL_get_current_cipher(self._ssl)
        return None if current == NULL else SSL_CIPHER_get_name(current).decode()

    @property
    def srtp_profile(self):
        """OpenSSL's name of the negotiated SRTP profile; None if there is none."""
        cdef const SRTP_PROTECTION_PROFILE* profile = SSL_get_selected_srtp_profile(self._ssl)
        return None if profile == NULL else profile.name.decode()

    @property
    def peer_fingerprint(self):
        """SHA-256 of the certificate whose key the peer has shown to hold (32 bytes).

        Raises RuntimeError if the handshake is not complete.
        """
        cdef unsigned char digest[EVP_MAX_MD_SIZE]
        cdef unsigned int length = 0
        cdef X509* certificate = NULL
        if self._state == CONNECTED:
            certificate = SSL_get1_peer_certificate(self._ssl)
        if certificate == NULL:
            raise RuntimeError("no certificate of the peer before the handshake is complete")
        X509_digest(certificate, EVP_sha256(), digest, &length)
        X509_free(certificate)
        return digest[:length]

    def export_keying_material(self, str label not None, int length):
        """Keys for another protocol, the same on both sides (RFC 5705).

        Raises RuntimeError if the handshake is not complete.
        """
        cdef bytes name = label.encode()
        cdef bytearray material = bytearray(length)
        if (
            self._state != CONNECTED
            or SSL_export_keying_material(
                self._ssl, material, <size_t>length, name, len(name), NULL, 0, 0
            )
            != 1
        ):
            raise RuntimeError("no keying material before the handshake is complete")
        return bytes(material)

    # -- the handshake -------------------------------------------------------------------------

    def start(self):
        """Begin the handshake: a client's first flight leaves."""
        if self._state == NEW:
            self._state = CONNECTING
            self._handshake()

    cdef int _handshake(self) except -1:
        cdef int result, error
        self._flight_begun = False
        ERR_clear_error()
        result = SSL_do_handshake(self._ssl)
        if result == 1:
            self._state = CONNECTED
            if self.flight is not None:
                SSL_set_mtu(self._ssl, DATAGRAM_SIZE)
                if not self.is_server:
                    self.flight.clear()  # the last flight is the server's (RFC 6347 section 4.2.4)
            self.max_plaintext = DTLS_get_data_mtu(self._ssl)
            return 0
        error = SSL_get_error(self._ssl, result)
        if error != SSL_ERROR_WANT_READ and error != SSL_ERROR_WANT_WRITE:
            self._fail("the handshake failed")
        return 0

    cdef int _keep(self, const char* data, int length) noexcept:
        # The datagrams that one call of OpenSSL writes are a flight.
        if not self._flight_begun:
            self._flight_begun = True
            self.flight.clear()
        self.flight.append(data[:length])
        return 0

    cdef int _fail(self, str what) except -1:
        cdef unsigned long code = ERR_get_error()
        cdef const char* reason = ERR_reason_error_string(code) if code else NULL
        self._state = FAILED
        self.error = what if reason == NULL else f"{what}: {reason.decode()}"
        ERR_clear_error()
        return 0

    cdef bint _is_expected(self, X509* certificate) except -1:
        cdef unsigned char digest[EVP_MAX_MD_SIZE]
        cdef unsigned int length = 0
        cdef const EVP_MD* method
        known = False
        for algorithm, expected in self._fingerprints:
            if algorithm == "sha-256":
                method = EVP_sha256()
            elif algorithm == "sha-384":
                method = EVP_sha384()
            elif algorithm == "sha-512":
                method = EVP_sha512()
            else:
                continue
            if certificate == NULL or X509_digest(certificate, method, digest, &length) != 1:
                return False
            if digest[:length] != expected:
                return False
            known = True
        return known

    def timeout(self):
        """Seconds until :meth:`handle_timeout` is due; None if nothing is."""
        cdef timeval left
        if self._state != CONNECTING or DTLSv1_get_timeout(self._ssl, &left) != 1:
            return None
        return <double>left.tv_sec + 1e-6 * <double>left.tv_usec

    def handle_timeout(self):
        """Send the last flight again, if it is due, or give up after a dozen times."""
        if self._state == CONNECTING:
            self._flight_begun = False
            ERR_clear_error()
            if DTLSv1_handle_timeout(self._ssl) < 0:
                self._fail("the handshake got no answer")

    # -- records -------------------------------------------------------------------------------

    cdef int feed(self, const uint8_t* data, size_t length) except -1:
        # Take one datagram. Its plaintexts, if any, are to be had from read() before the next.
        self._incoming = data
        self._incoming_length = length
        if self._state == CONNECTING:
            self._handshake()
        if self._state != CONNECTED:
            self._incoming_length = 0
        return 0

    cdef Py_ssize_t read(self, uint8_t* buffer, size_t capacity) except -1:
        # The next plaintext of the datagram; 0 once there is none. MAX_PLAINTEXT fits them all, and
        # OpenSSL writes no more than it is told that there is room for.
        cdef int length, error
        if self._state != CONNECTED:
            self._incoming_length = 0  # the caller may free the datagram
            return 0
        if (
            # Asking OpenSSL for what is not there costs as much as a record.
            self._incoming_length == 0 and not SSL_has_pending(self._ssl)
        ):
            return 0
        length = SSL_read(self._ssl, buffer, <int>capacity)
        if length > 0:
            if self.flight:
                self.flight.clear()  # application data shows that the peer has the last flight
            return length
        error = SSL_get_error(self._ssl, length)
        if error == SSL_ERROR_ZERO_RETURN:
            self._state = CLOSED
        elif error != SSL_ERROR_WANT_READ and error != SSL_ERROR_WANT_WRITE:
            self._fail("the connection failed")
        # Forged and damaged records leave errors on OpenSSL's queue, but do no harm.
        ERR_clear_error()
        self._incoming_length = 0
        return 0

    cdef bint write(self, const uint8_t* data, size_t length) except -1:
        # Send a record of at most max_plaintext bytes; False if there is no connection.
        if self._state != CONNECTED or length > self.max_plaintext:
            return False
        if SSL_write(self._ssl, data, <int>length) <= 0:
            self._fail("a record could not be written")
            return False
        return True

    def receive(self, const uint8_t[::1] datagram not None):
        """Take one datagram and return the plaintexts in it, for tests and slow paths."""
        cdef uint8_t buffer[MAX_PLAINTEXT]
        cdef Py_ssize_t length
        cdef list plaintexts = []
        if datagram.shape[0] == 0:
            return plaintexts
        self.feed(&datagram[0], <size_t>datagram.shape[0])
        while True:
            length = self.read(buffer, MAX_PLAINTEXT)
            if length == 0:
                return plaintexts
            plaintexts.append(buffer[:length])

    def send(self, const uint8_t[::1] data not None):
        """Send one record.

        :returns: False if the connection is not up or the data exceed ``max_plaintext``.
        """
        return data.shape[0] == 0 or self.write(&data[0], <size_t>data.shape[0])

    def close(self):
        """Tell the peer (close_notify) and send no more. May be called at any time."""
        if self._state == CONNECTED:
            ERR_clear_error()
            SSL_shutdown(self._ssl)
            ERR_clear_error()
        if self._state != FAILED:
            self._state = CLOSED
