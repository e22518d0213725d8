// One small value in etcd, by its JSON gateway over HTTP (etcd 3.4 and later: /v3/kv/...).
//
// Threads:   the loop that was given. One call at a time.
// Failure:   a line for people; the next call goes to the next endpoint. A swap whose answer was lost may have
// happened: what
//            the next one finds tells.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "target/iscsi/portals.hpp"

namespace mpath::target::cluster {

class EtcdClient {
 public:
  // `endpoints`: at least one. `timeout`: of a call.
  EtcdClient(boost::asio::io_context& control, std::vector<Portal> endpoints, std::string key,
             std::chrono::milliseconds timeout);
  ~EtcdClient();

  struct Value {
    std::string bytes;
    std::int64_t revision = 0;  // 0: there is no such key
  };
  template <typename T>
  using Answer = std::expected<T, std::string>;

  // As a majority of etcd's members has it.
  [[nodiscard]] boost::asio::awaitable<Answer<Value>> read();
  // Replaces what has this revision (0: only if there is nothing) and comes back with the new one; else with what is
  // there.
  struct Swapped {
    bool done = false;
    Value value;
  };
  [[nodiscard]] boost::asio::awaitable<Answer<Swapped>> swap(std::int64_t revision, std::string bytes);
  // The endpoint that is talked to.
  [[nodiscard]] const Portal& endpoint() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mpath::target::cluster
