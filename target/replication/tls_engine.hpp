// TLS 1.3 between the two ends of one connection, by a key that both have (RFC 8446, 2.2): no certificates, no tickets,
// no early data, and fresh Diffie-Hellman values for each connection, so that what was recorded stays closed to whoever
// finds the key later. Bytes go in and come out; there is no socket here.
//
//   shake() … shake() = true, on both ends; then seal() ──► records ──► feed(), open()
//
// Threads:    one at a time, any.
// Trust:      an end without one of the other's keys, a record that was changed, left out, repeated or comes from
// another
//             connection: each is an error, after which nothing else is said or taken.
// Keys:       the sender takes the next one after `records_per_key` records (RFC 8446, 5.5).
// Allocation: none of our own after the handshake; OpenSSL allocates and frees some words for each record.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "wire/replication_stream.hpp"

namespace mpath::target::replication {

using namespace mpath::replication;  // the words of the pair

// A key under the name by which the end that connects offers it.
struct TlsKey {
  std::string name;
  Key key{};
};

class TlsEngine {
 public:
  // RFC 8446, 5.1 and 5.2.
  static constexpr std::size_t record_header_bytes = 5, record_plain_max = 16384;
  static constexpr std::size_t record_bytes_max = record_header_bytes + record_plain_max + 256;
  // What OpenSSL says by itself and was not sent yet: the handshake, alerts. More is an error.
  static constexpr std::size_t said_bytes_max = 4096;
  // Of a place to seal into: a record that announces the next key, a full one, and what was said before.
  static constexpr std::size_t seal_room = said_bytes_max + 64 + record_bytes_max;

  static std::unique_ptr<TlsEngine> connecting(TlsKey key, std::uint64_t records_per_key = std::uint64_t{1} << 22);
  // Takes any of the keys.
  static std::unique_ptr<TlsEngine> accepting(std::vector<TlsKey> keys,
                                              std::uint64_t records_per_key = std::uint64_t{1} << 22);
  ~TlsEngine();
  TlsEngine(const TlsEngine&) = delete;
  TlsEngine& operator=(const TlsEngine&) = delete;

  // The handshake: takes what came, none at first, and later a whole record. True: it is done. take_said() is to be
  // sent whatever it returns.
  [[nodiscard]] std::expected<bool, std::string> shake(std::span<const std::byte> came);
  [[nodiscard]] std::vector<std::byte> take_said();

  // As many bytes of `pieces` as go into `place`, which has `seal_room` at least, as records.
  struct Sealed {
    std::size_t plain_bytes = 0, bytes = 0;
  };
  [[nodiscard]] std::expected<Sealed, std::string> seal(std::span<const iovec> pieces, std::span<std::byte> place);
  // seal() has something to say even if there is nothing to seal.
  [[nodiscard]] bool has_something_to_say() const { return said_bytes_ > 0; }

  // What came; it stays where it is until has_input() is false.
  void feed(std::span<const std::byte> records) { in_ = records; }
  // What was sealed, into `places` in their order. Fewer bytes than there is room: the rest has not come yet.
  [[nodiscard]] std::expected<std::size_t, std::string> open(std::span<const iovec> places);
  [[nodiscard]] bool has_input() const;
  // Part of a record has come.
  [[nodiscard]] bool in_record() const;

 private:
  struct Ssl;

  TlsEngine(std::vector<TlsKey> keys, std::uint64_t records_per_key);
  [[nodiscard]] std::string what_went_wrong();
  [[nodiscard]] std::span<const std::byte> next_plain(std::span<const iovec>& pieces, std::size_t& gone);
  [[nodiscard]] bool write_record(std::span<const std::byte> plain);

  std::vector<TlsKey> keys_;
  std::uint64_t records_per_key_;
  std::uint64_t records_ = 0;  // with the present key
  std::unique_ptr<Ssl> ssl_;

  std::span<const std::byte> in_;
  std::span<std::byte> out_;  // what is left of it, while seal() runs
  std::array<std::byte, said_bytes_max> said_{};
  std::size_t said_bytes_ = 0;
  std::array<std::byte, record_plain_max> gathered_{};  // small pieces for one record
  std::string failure_;                                 // to be told when what came before it was taken
};

}  // namespace mpath::target::replication
