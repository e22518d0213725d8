// The end of a connection that its peer is to notice at once.
#pragma once

#include <sys/socket.h>

namespace mpath::target {

// close() of this socket will send RST instead of FIN, and throw away what was not sent.
inline void close_with_reset(int socket) {
  constexpr linger at_once{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

}  // namespace mpath::target
