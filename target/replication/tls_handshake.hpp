// The handshake of TLS over a connection whose ends have greeted each other.
//
// Threads:      the control thread. Cancellation: as a coroutine; the user bounds the time.
// Bounds:       a peer that says more than `tls_handshake_bytes_max` does not say what belongs here.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <expected>
#include <string>

#include "target/replication/handshake_socket.hpp"
#include "target/replication/tls_engine.hpp"

namespace mpath::target::replication {

inline constexpr std::size_t tls_handshake_bytes_max = 4096;  // of either end; some 300 are needed

// Reads no byte beyond it: what comes behind is the stream's. The error is for people; it is told to the peer too.
[[nodiscard]] boost::asio::awaitable<std::expected<void, std::string>> shake_hands(HandshakeSocket& socket,
                                                                                   TlsEngine& engine);

}  // namespace mpath::target::replication
