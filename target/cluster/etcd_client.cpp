#include "target/cluster/etcd_client.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "target/config/parse.hpp"

namespace mpath::target::cluster {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::awaitable;
using boost_error = boost::system::error_code;
using nlohmann::json;

constexpr std::uint64_t answer_bytes_max = 64 * 1024;

std::string base64(const std::string& bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

// Empty for what is none.
std::string from_base64(const std::string& text) {
  std::string bytes(3 * (text.size() / 4), '\0');
  const int length =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (length < 0) return {};
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  bytes.resize(static_cast<std::size_t>(length) - padding);
  return bytes;
}

// Numbers of 64 bits are strings in the gateway's JSON, and zero is left out.
std::int64_t number(const json& from, const char* key) {
  if (!from.is_object()) return 0;
  const auto place = from.find(key);
  if (place == from.end() || !place->is_string()) return 0;
  const auto& text = place->get_ref<const std::string&>();
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

EtcdClient::Value value_of(const json& range) {
  if (!range.is_object()) return {};
  const auto pairs = range.find("kvs");
  if (pairs == range.end() || !pairs->is_array() || pairs->empty() || !pairs->front().is_object()) return {};
  const json& pair = pairs->front();
  const auto value = pair.find("value");
  const bool text = value != pair.end() && value->is_string();
  return {.bytes = text ? from_base64(value->get<std::string>()) : std::string(),
          .revision = number(pair, "mod_revision")};
}

}  // namespace

struct EtcdClient::Impl {
  asio::io_context& control;
  std::vector<Portal> endpoints;
  std::string key;
  std::chrono::milliseconds timeout;
  std::size_t current = 0;
  std::optional<beast::tcp_stream> stream;
  beast::flat_buffer buffer;

  [[nodiscard]] std::string where() const { return "etcd " + format_portal(endpoints[current]); }

  std::unexpected<std::string> failed(const std::string& why) {
    std::string text = fmt::format("{}: {}", where(), why);
    stream.reset();
    current = (current + 1) % endpoints.size();
    return std::unexpected(std::move(text));
  }

  awaitable<Answer<json>> post(const char* path, const json& body) {
    boost_error error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    if (!stream) {
      stream.emplace(control);
      buffer.clear();
      const Portal& to = endpoints[current];
      const asio::ip::tcp::endpoint endpoint(asio::ip::make_address(to.address, error), to.port);
      if (error) co_return failed(error.message());
      stream->expires_after(timeout);
      co_await stream->async_connect(endpoint, token);
      if (error) co_return failed(error.message());
    }
    http::request<http::string_body> request(http::verb::post, path, 11);
    request.set(http::field::host, format_portal(endpoints[current]));
    request.set(http::field::content_type, "application/json");
    request.keep_alive(true);
    request.body() = body.dump();
    request.prepare_payload();
    stream->expires_after(timeout);
    co_await http::async_write(*stream, request, token);
    if (error) co_return failed(error.message());
    http::response_parser<http::string_body> parser;
    parser.body_limit(answer_bytes_max);
    co_await http::async_read(*stream, buffer, parser, token);
    if (error) co_return failed(error == beast::error::timeout ? "no answer in time" : error.message());
    const auto& response = parser.get();
    const json answer = json::parse(response.body(), nullptr, false);
    if (response.result() != http::status::ok || !answer.is_object()) {
      co_return failed(fmt::format("answers {}: {}", response.result_int(), response.body().substr(0, 200)));
    }
    if (!response.keep_alive()) stream.reset();
    co_return answer;
  }
};

EtcdClient::EtcdClient(asio::io_context& control, std::vector<Portal> endpoints, std::string key,
                       std::chrono::milliseconds timeout)
    : impl_(std::make_unique<Impl>(Impl{control, std::move(endpoints), base64(key), timeout, 0, std::nullopt, {}})) {}

EtcdClient::~EtcdClient() = default;

const Portal& EtcdClient::endpoint() const {
  return impl_->endpoints[impl_->current];
}

awaitable<EtcdClient::Answer<EtcdClient::Value>> EtcdClient::read() {
  json body = json::object();
  body["key"] = impl_->key;
  const auto answer = co_await impl_->post("/v3/kv/range", body);
  if (!answer) co_return std::unexpected(answer.error());
  co_return value_of(*answer);
}

awaitable<EtcdClient::Answer<EtcdClient::Swapped>> EtcdClient::swap(std::int64_t revision, std::string bytes) {
  json compare = json::object();
  compare["target"] = "MOD";
  compare["result"] = "EQUAL";
  compare["key"] = impl_->key;
  compare["mod_revision"] = std::to_string(revision);
  json put = json::object();
  put["request_put"]["key"] = impl_->key;
  put["request_put"]["value"] = base64(bytes);
  json range = json::object();
  range["request_range"]["key"] = impl_->key;
  json body = json::object();
  body["compare"].push_back(compare);
  body["success"].push_back(put);
  body["failure"].push_back(range);
  const auto answer = co_await impl_->post("/v3/kv/txn", body);
  if (!answer) co_return std::unexpected(answer.error());
  Swapped swapped;
  const json done = answer->value("succeeded", json());
  swapped.done = done.is_boolean() && done.get<bool>();
  if (swapped.done) {
    const json header = answer->value("header", json());
    swapped.value = {.bytes = std::move(bytes), .revision = number(header, "revision")};
  } else {
    const json responses = answer->value("responses", json());
    const json first = responses.is_array() && !responses.empty() ? responses.front() : json();
    if (first.is_object()) swapped.value = value_of(first.value("response_range", json()));
  }
  co_return swapped;
}

}  // namespace mpath::target::cluster
