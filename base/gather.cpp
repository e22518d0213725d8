#include "base/gather.hpp"

#include <sys/socket.h>

#include <cerrno>

namespace mpath {

Result<std::size_t> Gather::send(int socket) {
  msghdr message{};
  message.msg_iov = pieces_.data();
  message.msg_iovlen = count_;
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
    if (errno != EINTR) return failure(errno);
  }
}

}  // namespace mpath
