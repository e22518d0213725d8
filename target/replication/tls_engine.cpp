#include "target/replication/tls_engine.hpp"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/check.hpp"

namespace mpath::target::replication {

// The connection, and how OpenSSL gets at the engine's bytes.
struct TlsEngine::Ssl {
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
    void operator()(BIO_METHOD* method) const { BIO_meth_free(method); }
  };
  template <typename Thing>
  using Owned = std::unique_ptr<Thing, Free>;

  Owned<SSL> handle;

  static TlsEngine& engine_of(const SSL* ssl) { return *static_cast<TlsEngine*>(SSL_get_app_data(ssl)); }
  static TlsEngine& engine_of(BIO* bio) { return *static_cast<TlsEngine*>(BIO_get_data(bio)); }

  // ---- bytes

  static int read(BIO* bio, char* place, int size) {
    TlsEngine& engine = engine_of(bio);
    BIO_clear_retry_flags(bio);
    const std::size_t count = std::min(engine.in_.size(), static_cast<std::size_t>(size));
    if (count == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    std::memcpy(place, engine.in_.data(), count);
    engine.in_ = engine.in_.subspan(count);
    return static_cast<int>(count);
  }

  static int write(BIO* bio, const char* bytes, int size) {
    TlsEngine& engine = engine_of(bio);
    BIO_clear_retry_flags(bio);
    const auto count = static_cast<std::size_t>(size);
    if (!engine.out_.empty()) {
      CHECK(count <= engine.out_.size());
      std::memcpy(engine.out_.data(), bytes, count);
      engine.out_ = engine.out_.subspan(count);
      return size;
    }
    if (count > engine.said_.size() - engine.said_bytes_) return -1;
    std::memcpy(engine.said_.data() + engine.said_bytes_, bytes, count);
    engine.said_bytes_ += count;
    return size;
  }

  static long control(BIO* /*bio*/, int what, long /*number*/, void* /*pointer*/) { return what == BIO_CTRL_FLUSH; }

  static const BIO_METHOD* method() {
    static const Owned<BIO_METHOD> made = [] {
      Owned<BIO_METHOD> fresh(BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "TlsEngine"));
      CHECK(fresh != nullptr && BIO_meth_set_read(fresh.get(), read) == 1 &&
            BIO_meth_set_write(fresh.get(), write) == 1 && BIO_meth_set_ctrl(fresh.get(), control) == 1);
      return fresh;
    }();
    return made.get();
  }

  // ---- keys

  // As if an earlier connection had left it: that is how a key from outside looks to TLS 1.3.
  static SSL_SESSION* session_of(SSL* ssl, const TlsKey& key) {
    constexpr std::array<unsigned char, 2> aes_128_gcm_sha256{0x13, 0x01};
    Owned<SSL_SESSION> session(SSL_SESSION_new());
    CHECK(session != nullptr);
    const auto* const bytes = reinterpret_cast<const unsigned char*>(key.key.data());
    CHECK(SSL_SESSION_set1_master_key(session.get(), bytes, key.key.size()) == 1 &&
          SSL_SESSION_set_cipher(session.get(), SSL_CIPHER_find(ssl, aes_128_gcm_sha256.data())) == 1 &&
          SSL_SESSION_set_protocol_version(session.get(), TLS1_3_VERSION) == 1);
    return session.release();
  }

  static int offer_key(SSL* ssl, const EVP_MD* digest, const unsigned char** name, std::size_t* name_bytes,
                       SSL_SESSION** session) {
    *session = nullptr;
    // Said for the second time if the other end wants another hash: there is none.
    if (digest != nullptr && EVP_MD_get_type(digest) != NID_sha256) return 1;
    const TlsKey& key = engine_of(ssl).keys_.front();
    *name = reinterpret_cast<const unsigned char*>(key.name.data());
    *name_bytes = key.name.size();
    *session = session_of(ssl, key);
    return 1;
  }

  static int find_key(SSL* ssl, const unsigned char* name, std::size_t name_bytes, SSL_SESSION** session) {
    *session = nullptr;  // then the handshake fails: there is nothing but keys
    const std::string_view wanted(reinterpret_cast<const char*>(name), name_bytes);
    const auto& keys = engine_of(ssl).keys_;
    const auto key = std::ranges::find(keys, wanted, &TlsKey::name);
    if (key != keys.end()) *session = session_of(ssl, *key);
    return 1;
  }

  explicit Ssl(TlsEngine& engine) {
    const Owned<SSL_CTX> context(SSL_CTX_new(TLS_method()));
    CHECK(context != nullptr);
    CHECK(SSL_CTX_set_min_proto_version(context.get(), TLS1_3_VERSION) == 1 &&
          SSL_CTX_set_max_proto_version(context.get(), TLS1_3_VERSION) == 1 &&
          SSL_CTX_set_ciphersuites(context.get(), "TLS_AES_128_GCM_SHA256") == 1 &&
          SSL_CTX_set1_groups_list(context.get(), "X25519:P-256") == 1 &&
          SSL_CTX_set_num_tickets(context.get(), 0) == 1);
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_clear_options(context.get(), SSL_OP_ENABLE_MIDDLEBOX_COMPAT | SSL_OP_ALLOW_NO_DHE_KEX);
    handle.reset(SSL_new(context.get()));
    CHECK(handle != nullptr);
    SSL_set_app_data(handle.get(), &engine);
    BIO* const bio = BIO_new(method());
    CHECK(bio != nullptr);
    BIO_set_data(bio, &engine);
    BIO_set_init(bio, 1);
    SSL_set_bio(handle.get(), bio, bio);
  }
};

TlsEngine::TlsEngine(std::vector<TlsKey> keys, std::uint64_t records_per_key)
    : keys_(std::move(keys)), records_per_key_(records_per_key), ssl_(std::make_unique<Ssl>(*this)) {}

TlsEngine::~TlsEngine() = default;

std::unique_ptr<TlsEngine> TlsEngine::connecting(TlsKey key, std::uint64_t records_per_key) {
  std::unique_ptr<TlsEngine> made(new TlsEngine({std::move(key)}, records_per_key));
  SSL* const ssl = made->ssl_->handle.get();
  SSL_set_psk_use_session_callback(ssl, Ssl::offer_key);
  // One who has a certificate instead of the key has nothing that counts here.
  SSL_set_verify(ssl, SSL_VERIFY_PEER, nullptr);
  SSL_set_connect_state(ssl);
  return made;
}

std::unique_ptr<TlsEngine> TlsEngine::accepting(std::vector<TlsKey> keys, std::uint64_t records_per_key) {
  std::unique_ptr<TlsEngine> made(new TlsEngine(std::move(keys), records_per_key));
  SSL* const ssl = made->ssl_->handle.get();
  SSL_set_psk_find_session_callback(ssl, Ssl::find_key);
  SSL_set_accept_state(ssl);
  return made;
}

// After a call that has failed: the reason that OpenSSL gives, of which the last is the plainest.
std::string TlsEngine::what_went_wrong() {
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  const char* const reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  return reason == nullptr ? "TLS: it was broken off" : std::string("TLS: ") + reason;
}

// ---- the handshake -------------------------------------------------------------------------------------------------

std::expected<bool, std::string> TlsEngine::shake(std::span<const std::byte> came) {
  SSL* const ssl = ssl_->handle.get();
  in_ = came;
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl);
  const bool all_taken = std::exchange(in_, {}).empty();
  if (done != 1) {
    if (SSL_get_error(ssl, done) == SSL_ERROR_WANT_READ) return false;
    return std::unexpected(what_went_wrong());
  }
  // What was asked for is what there is: the key, and fresh values on both sides.
  if (!all_taken || SSL_version(ssl) != TLS1_3_VERSION || SSL_session_reused(ssl) != 1 ||
      SSL_get_negotiated_group(ssl) == NID_undef) {
    return std::unexpected(std::string("TLS: the other end did not use the key"));
  }
  return true;
}

std::vector<std::byte> TlsEngine::take_said() {
  return {said_.begin(), said_.begin() + static_cast<std::ptrdiff_t>(std::exchange(said_bytes_, 0))};
}

// ---- records -------------------------------------------------------------------------------------------------------

std::expected<TlsEngine::Sealed, std::string> TlsEngine::seal(std::span<const iovec> pieces,
                                                              std::span<std::byte> place) {
  CHECK(place.size() >= seal_room);
  std::memcpy(place.data(), said_.data(), said_bytes_);
  out_ = place.subspan(std::exchange(said_bytes_, 0));
  ERR_clear_error();
  Sealed sealed;
  std::size_t gone = 0;  // of the first piece
  bool good = true;
  while (good && !pieces.empty() && out_.size() >= seal_room - said_bytes_max) {
    const std::span<const std::byte> plain = next_plain(pieces, gone);
    good = plain.empty() || write_record(plain);
    sealed.plain_bytes += plain.size();
  }
  sealed.bytes = place.size() - std::exchange(out_, {}).size();
  if (!good) return std::unexpected(what_went_wrong());
  return sealed;
}

// For one record: from where it lies, or several pieces put together.
std::span<const std::byte> TlsEngine::next_plain(std::span<const iovec>& pieces, std::size_t& gone) {
  std::size_t count = 0;
  while (!pieces.empty() && count < record_plain_max) {
    const auto* const rest = static_cast<const std::byte*>(pieces.front().iov_base) + gone;
    const std::size_t left = pieces.front().iov_len - gone;
    if (count == 0 && left >= record_plain_max) {
      gone += record_plain_max;
      return {rest, record_plain_max};
    }
    const std::size_t some = std::min(left, record_plain_max - count);
    if (some > 0) std::memcpy(gathered_.data() + count, rest, some);
    count += some;
    gone += some;
    if (gone == pieces.front().iov_len) {
      pieces = pieces.subspan(1);
      gone = 0;
    }
  }
  return std::span(gathered_).first(count);
}

bool TlsEngine::write_record(std::span<const std::byte> plain) {
  SSL* const ssl = ssl_->handle.get();
  if (records_ == records_per_key_) {
    if (SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) != 1) return false;
    records_ = 0;
  }
  ++records_;
  const auto size = static_cast<int>(plain.size());
  return SSL_write(ssl, plain.data(), size) == size;
}

std::expected<std::size_t, std::string> TlsEngine::open(std::span<const iovec> places) {
  SSL* const ssl = ssl_->handle.get();
  if (!failure_.empty()) return std::unexpected(failure_);
  ERR_clear_error();
  std::size_t placed = 0;
  for (const iovec& place : places) {
    std::size_t filled = 0;
    while (filled < place.iov_len) {
      std::size_t count = 0;
      const int good =
          SSL_read_ex(ssl, static_cast<std::byte*>(place.iov_base) + filled, place.iov_len - filled, &count);
      if (good == 1) {
        filled += count;
        continue;
      }
      placed += filled;
      const int why = SSL_get_error(ssl, good);
      if (why == SSL_ERROR_WANT_READ) return placed;
      failure_ = why == SSL_ERROR_ZERO_RETURN ? "the peer closed the connection" : what_went_wrong();
      if (placed == 0) return std::unexpected(failure_);
      return placed;
    }
    placed += filled;
  }
  return placed;
}

bool TlsEngine::has_input() const {
  return !in_.empty() || !failure_.empty() || SSL_pending(ssl_->handle.get()) > 0;
}

bool TlsEngine::in_record() const {
  const SSL* const ssl = ssl_->handle.get();
  // Of its header, or of what follows it, which may be nothing yet.
  return SSL_has_pending(ssl) == 1 || std::string_view(SSL_rstate_string(ssl)) == "RB";
}

}  // namespace mpath::target::replication
